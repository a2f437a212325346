package ftp

import (
	"errors"
	"fmt"
	"strconv"
)

// A Code is the number of a reply, three digits (RFC 959, section 4.2).
type Code int

// Codes that decide how a conversation goes on.
const (
	CodeCommandOK       Code = 200
	CodeSystemStatus    Code = 211 // to STAT, as the next two
	CodeDirectoryStatus Code = 212
	CodeFileStatus      Code = 213
	CodeReady           Code = 220 // for a new user: the first reply, and that to REIN
	CodeNoTransfer      Code = 225 // to ABOR
	CodeAborted         Code = 226 // to ABOR, and the end of a transfer
	CodePassive         Code = 227 // to PASV, with an address
	CodeLongPassive     Code = 228 // to LPSV (RFC 1639)
	CodeExtendedPassive Code = 229 // to EPSV, with a port (RFC 2428)
	CodeLoggedIn        Code = 230
	CodeLoggedInSecure  Code = 232 // by what AUTH exchanged (RFC 2228)
	CodeSecure          Code = 234 // to AUTH: what follows is protected (RFC 4217)
	CodeSecureData      Code = 334 // to AUTH: ADAT is to follow (RFC 2228)
	CodeClosing         Code = 421 // also to no command
	CodeNoDataConn      Code = 425
	CodeUnknownVerb     Code = 500
	CodeBadArgument     Code = 501
	CodeNotImplemented  Code = 502
	CodeBadSequence     Code = 503
	CodeNetworkProtocol Code = 522 // EPRT or EPSV asks for another one (RFC 2428)
	CodeNotLoggedIn     Code = 530
	CodePolicy          Code = 534 // AUTH is refused (RFC 2228)
)

// Preliminary reports whether another reply to the same command is to follow.
func (c Code) Preliminary() bool { return c < 200 }

// Failed reports whether the command was not done.
func (c Code) Failed() bool { return 400 <= c && c < 600 }

// A ReplyLine is a line of a reply, which may have many (RFC 959, section 4.2).
type ReplyLine struct {
	Code  Code   // of the reply
	First bool   // of the reply
	Last  bool   // of the reply
	Text  []byte // after the code and the blank or hyphen; of lines between the first and the last, all
}

var errCode = errors.New("begins with no code of three digits and a blank or hyphen")

// A ReplyReader tells what part of which reply lines are. The zero value is before the first reply.
type ReplyReader struct {
	open Code // of the reply whose last line has not come; 0: none
}

// Line reads the next line, without its end. The text is part of it.
//
// Within a reply only the reply's own code and a blank end it. Some clients take any code and
// a blank for the end; [AppendReplyLine] writes such lines so that they do not.
func (r *ReplyReader) Line(line []byte) (ReplyLine, error) {
	code, after, ok := cutCode(line)
	if r.open != 0 {
		if !ok || code != r.open || after != ' ' {
			return ReplyLine{Code: r.open, Text: line}, nil
		}
		r.open = 0
		return ReplyLine{Code: code, Last: true, Text: line[4:]}, nil
	}
	switch {
	case ok && after == 0:
		return ReplyLine{Code: code, First: true, Last: true, Text: line[3:]}, nil
	case ok && after == ' ':
		return ReplyLine{Code: code, First: true, Last: true, Text: line[4:]}, nil
	case ok && after == '-':
		r.open = code
		return ReplyLine{Code: code, First: true, Text: line[4:]}, nil
	}
	return ReplyLine{}, fmt.Errorf("ftp: reply of %d bytes %w", len(line), errCode)
}

// Partial reports whether the last line of a reply is to come.
func (r *ReplyReader) Partial() bool { return r.open != 0 }

// cutCode reads the code that a line begins with, and what comes after it, 0 where the line ends.
func cutCode(line []byte) (code Code, after byte, ok bool) {
	if len(line) < 3 || line[0] < '1' || line[0] > '6' || !isDigit(line[1]) || !isDigit(line[2]) { // 6: protected replies, RFC 2228
		return 0, 0, false
	}
	code = Code(line[0]-'0')*100 + Code(line[1]-'0')*10 + Code(line[2]-'0')
	if len(line) == 3 {
		return code, 0, true
	}
	return code, line[3], true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// AppendReplyLine appends l as a line with its end. A line within a reply that could be taken for the end of it, or for
// the start of another, gets a blank before it, as RFC 959 asks of servers.
func AppendReplyLine(b []byte, l ReplyLine) []byte {
	switch {
	case l.Last:
		b = strconv.AppendInt(b, int64(l.Code), 10)
		b = append(b, ' ')
	case l.First:
		b = strconv.AppendInt(b, int64(l.Code), 10)
		b = append(b, '-')
	case len(l.Text) >= 3 && isDigit(l.Text[0]) && isDigit(l.Text[1]) && isDigit(l.Text[2]):
		if code, after, _ := cutCode(l.Text); code != l.Code || after != '-' {
			b = append(b, ' ')
		}
	}
	b = append(b, l.Text...)
	return append(b, "\r\n"...)
}

// AppendReply appends a reply of one line.
func AppendReply(b []byte, c Code, text string) []byte {
	b = strconv.AppendInt(b, int64(c), 10)
	b = append(b, ' ')
	b = append(b, text...)
	return append(b, "\r\n"...)
}
