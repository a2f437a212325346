package socktable

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// datagram puts messages one after the other.
func datagram(messages ...message) []byte {
	var b []byte
	for _, m := range messages {
		b = binary.NativeEndian.AppendUint32(b, uint32(messageHeader+len(m.data)))
		b = binary.NativeEndian.AppendUint16(b, m.kind)
		b = binary.NativeEndian.AppendUint16(b, m.flags)
		b = binary.NativeEndian.AppendUint32(b, m.sequence)
		b = append(append(b, 0, 0, 0, 0), m.data...)
		for len(b)%unix.NLMSG_ALIGNTO != 0 {
			b = append(b, 0)
		}
	}
	return b
}

const diag = unix.SOCK_DIAG_BY_FAMILY

// part is a message of a dump that answers question 1.
func part(data string) message {
	return message{kind: diag, flags: unix.NLM_F_MULTI, sequence: 1, data: []byte(data)}
}

// end is one that ends the answer with a code.
func end(kind uint16, code int32) message {
	return message{kind: kind, sequence: 1, data: binary.NativeEndian.AppendUint32(nil, uint32(code))}
}

var heard = []struct {
	name string
	b    []byte
	told []string
	over bool
	err  error
}{
	{"an answer", datagram(message{kind: diag, sequence: 1, data: []byte("some")}), []string{"some"}, true, nil},
	{"an empty answer", datagram(message{kind: diag, sequence: 1}), []string{""}, true, nil},
	{"a part of a dump", datagram(part("a"), part("b")), []string{"a", "b"}, false, nil},
	{"the end of a dump", datagram(end(unix.NLMSG_DONE, 0)), nil, true, nil},
	{"a dump", datagram(part("abc"), part(""), part("abcde"), end(unix.NLMSG_DONE, 0)), []string{"abc", "", "abcde"}, true, nil},
	{"a dump that fails", datagram(part("a"), end(unix.NLMSG_DONE, -int32(unix.ENOENT))), []string{"a"}, true, unix.ENOENT},
	{"an error", datagram(end(unix.NLMSG_ERROR, -int32(unix.ENOENT))), nil, true, unix.ENOENT},
	{"the largest error", datagram(end(unix.NLMSG_ERROR, -maxErrno)), nil, true, unix.Errno(maxErrno)},
	{"no error", datagram(end(unix.NLMSG_ERROR, 0)), nil, true, nil},
	{"the last message not filled up", datagram(part("a"), part("b"))[:2*messageHeader+4+1], []string{"a", "b"}, false, nil},

	{"nothing", nil, nil, false, errAnswer},
	{"less than a header", datagram(part(""))[:messageHeader-1], nil, false, errAnswer},
	{"less than a second header", datagram(part("a"), part(""))[:2*messageHeader], []string{"a"}, false, errAnswer},
	{"cut off", datagram(part("some"))[:messageHeader+3], nil, false, errAnswer},
	{"no size", make([]byte, messageHeader), nil, false, errAnswer},
	{"a size within the header", binary.NativeEndian.AppendUint32(nil, messageHeader-1), nil, false, errAnswer},
	{"the largest size", slices.Concat([]byte{0xff, 0xff, 0xff, 0xff}, datagram(part("a"))[4:]), nil, false, errAnswer},
	{"an answer to another question", datagram(message{kind: diag, sequence: 2}), nil, false, errAnswer},
	{"an error to another question", datagram(message{kind: unix.NLMSG_ERROR, data: make([]byte, 4)}), nil, false, errAnswer},
	{"another kind", datagram(message{kind: unix.NLMSG_OVERRUN, sequence: 1}), nil, false, errAnswer},
	{"an end without a code", datagram(message{kind: unix.NLMSG_DONE, sequence: 1, data: make([]byte, 3)}), nil, false, errAnswer},
	{"a code above 0", datagram(end(unix.NLMSG_ERROR, 1)), nil, false, errAnswer},
	{"a code that no error has", datagram(end(unix.NLMSG_ERROR, -maxErrno-1)), nil, false, errAnswer},
	{"the lowest code", datagram(end(unix.NLMSG_DONE, -1<<31)), nil, false, errAnswer},
}

func TestHear(t *testing.T) {
	for _, tt := range heard {
		var told []string
		over, err := hear(tt.b, 1, func(answer []byte) error {
			told = append(told, string(answer))
			return nil
		})
		if !slices.Equal(told, tt.told) || over != tt.over || !errors.Is(err, tt.err) {
			t.Errorf("%s: told %q, over %t, %v, want %q, %t, %v", tt.name, told, over, err, tt.told, tt.over, tt.err)
		}
	}
}

// What is not understood ends the conversation.
func TestHearStops(t *testing.T) {
	calls := 0
	over, err := hear(datagram(part("a"), part("b"), end(unix.NLMSG_DONE, 0)), 1, func([]byte) error {
		calls++
		return errAnswer
	})
	if over || !errors.Is(err, errAnswer) || calls != 1 {
		t.Errorf("over %t, %v after %d calls, want the error of the first", over, err, calls)
	}
}

func FuzzHear(f *testing.F) {
	for _, tt := range heard {
		f.Add(tt.b)
	}
	for _, a := range inetAnswers {
		b := unhex(f, a.hex)
		f.Add(datagram(part(string(b)), part(string(b)), end(unix.NLMSG_DONE, 0)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		room := len(b)
		over, err := hear(b, 1, func(answer []byte) error {
			if room -= messageHeader + len(answer); room < 0 {
				t.Errorf("more was told than the %d bytes have", len(b))
			}
			parseInet(answer)
			parseLocal(answer)
			return nil
		})
		var code unix.Errno
		if is := errors.As(err, &code); over && err != nil && !is || is && (!over || code == 0 || code > maxErrno) {
			t.Errorf("over %t, %v", over, err)
		}
		if !over && err == nil && room == len(b) {
			t.Error("nothing was told, nor is it over")
		}
	})
}
