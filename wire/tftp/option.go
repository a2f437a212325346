package tftp

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// An Option is a name and a value that a client proposes in a request and a server takes, maybe with another value,
// in its [OptionAck] (RFC 2347). Servers overlook those that they do not know.
type Option struct {
	Name  string // in upper or lower case, which mean the same; never empty
	Value string
}

// Names of options.
const (
	BlockSize    = "blksize"    // bytes of data in a packet (RFC 2348)
	Timeout      = "timeout"    // seconds until a packet is sent again (RFC 2349)
	TransferSize = "tsize"      // bytes of the file, 0 in a read request (RFC 2349)
	WindowSize   = "windowsize" // packets of data until the next ACK (RFC 7440)
	Multicast    = "multicast"  // data goes to a group of clients (RFC 2090)
)

// Is tells whether the option is of that name.
func (o Option) Is(name string) bool { return sameWord(o.Name, name) }

// sameWord compares words of ASCII whatever their case. Of equal length, letters beyond ASCII that
// fold to those in it, such as the long s, are not the same.
func sameWord(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

// Check returns nil where the value is one that the option's RFC allows, or the option is none of those above;
// else an error that says what is wrong with it. The value of multicast is not looked at.
func (o Option) Check() error {
	low, high := uint64(0), uint64(1<<63-1)
	switch {
	case o.Is(BlockSize):
		low, high = 8, 65464
	case o.Is(Timeout):
		low, high = 1, 255
	case o.Is(WindowSize):
		low, high = 1, 65535
	case !o.Is(TransferSize):
		return nil
	}
	if n, err := strconv.ParseUint(o.Value, 10, 64); err != nil || n < low || n > high {
		return fmt.Errorf("tftp: option %s: %q is no number from %d to %d", strings.ToLower(o.Name), o.Value, low, high)
	}
	return nil
}

// readOptions reads names and values, each with a NUL at its end, to the end of b.
func readOptions(b []byte) ([]Option, error) {
	var options []Option
	for len(b) > 0 {
		var o Option
		var ok bool
		if o.Name, b, ok = cutString(b); ok {
			o.Value, b, ok = cutString(b)
		}
		switch {
		case !ok:
			return nil, ErrString
		case o.Name == "":
			return nil, ErrEmpty
		}
		for _, before := range options { // few, since packets are small
			if o.Is(before.Name) {
				return nil, fmt.Errorf("%w: %q", ErrOption, o.Name)
			}
		}
		options = append(options, o)
	}
	return options, nil
}

func appendOptions(b []byte, options []Option) []byte {
	for _, o := range options {
		b = appendString(appendString(b, o.Name), o.Value)
	}
	return b
}

// An OptionAck tells the client which of its options the server took (OACK, RFC 2347).
type OptionAck struct {
	Options []Option // no two of one name
}

// ParseOptionAck decodes an OACK of at most [MaxRequest] bytes: it names no more than the request did.
func ParseOptionAck(b []byte) (OptionAck, error) {
	switch {
	case len(b) < opSize:
		return OptionAck{}, failed(OpOptionAck, ErrShort)
	case OpcodeOf(b) != OpOptionAck:
		return OptionAck{}, failed(OpOptionAck, fmt.Errorf("%w: %v", ErrOpcode, OpcodeOf(b)))
	case len(b) > MaxRequest:
		return OptionAck{}, failed(OpOptionAck, ErrTooLong)
	}
	options, err := readOptions(b[opSize:])
	if err != nil {
		return OptionAck{}, failed(OpOptionAck, err)
	}
	return OptionAck{options}, nil
}

// Append appends the OACK.
func (a OptionAck) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(OpOptionAck))
	return appendOptions(b, a.Options)
}
