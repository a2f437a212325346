package follow

import (
	"bytes"
	"errors"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/tftp"
)

// tftpFollower follows what one client sends to port 69 of a server, where there are requests and nothing else.
// The server answers each from another port, to the one that the client asked from: that is what is
// promised, and the transfer itself does not come here.
type tftpFollower struct {
	policy Policy
	asked  bool // a request was passed on since the server last answered at port 69
}

// NewTFTP returns a follower of the datagrams of TFTP (RFC 1350) between a port of a client and port 69 of a server. Where the
// client's address is translated, its request is sent from the port that stands for its own: no datagram holds an address.
func NewTFTP(p Policy) Follower { return &tftpFollower{policy: p.clean()} }

// Follow implements [Follower].
func (f *tftpFollower) Follow(from Side, data []byte) ([]Step, error) {
	if from == Client {
		return []Step{f.request(data)}, nil
	}
	return []Step{f.answer(data)}, nil
}

// Quiet implements [Follower].
func (f *tftpFollower) Quiet() bool { return !f.asked }

// request is what becomes of what the client sent.
func (f *tftpFollower) request(data []byte) Step {
	if op := tftp.OpcodeOf(data); !op.IsRequest() {
		return Step{Refused: tftpRefusal("state", "%v to the port of requests", op)} // an answer might go round in circles
	}
	q, err := tftp.ParseRequest(data)
	switch {
	case errors.Is(err, tftp.ErrMode), errors.Is(err, tftp.ErrOption):
		return answerTFTP(tftp.CodeIllegal, tftpRefusal("syntax", "%v", err))
	case err != nil:
		return Step{Refused: tftpRefusal("syntax", "%v", err)}
	}
	for _, o := range q.Options {
		if err := o.Check(); err != nil {
			return answerTFTP(tftp.CodeOptionDenied, tftpRefusal("syntax", "%v", err))
		}
		if o.Is(tftp.Multicast) { // the data would go to a group, for which nothing can be promised
			return answerTFTP(tftp.CodeOptionDenied, tftpRefusal("procedure", "transfer to a multicast group"))
		}
	}
	f.asked = true
	return Step{
		To:   Server,
		Data: bytes.Clone(data),
		Promises: []Promise{{
			By: Server, Protocol: protocolUDP, Port: f.policy.Ends[Client].Port(), Once: true, For: "tftp data",
		}},
		Else:   tftpError(tftp.CodeAccess),
		ElseTo: Client,
	}
}

// answer is what becomes of what the server sent from port 69: only that it refuses can come from there.
func (f *tftpFollower) answer(data []byte) Step {
	if op := tftp.OpcodeOf(data); op != tftp.OpError {
		return Step{Refused: tftpRefusal("state", "%v from the port of requests", op)}
	}
	if _, err := tftp.ParseError(data); err != nil {
		return Step{Refused: tftpRefusal("syntax", "%v", err)}
	}
	if !f.asked {
		return Step{Refused: tftpRefusal("state", "an error without a request")}
	}
	f.asked = false
	return Step{To: Client, Data: bytes.Clone(data)}
}

// answerTFTP answers a request in the place of the server.
func answerTFTP(code tftp.ErrorCode, r *Refusal) Step {
	return Step{To: Client, Data: tftpError(code), Refused: r}
}

func tftpError(code tftp.ErrorCode) []byte {
	return tftp.Error{Code: code, Message: "refused on the way to the server"}.Append(nil)
}

func tftpRefusal(rule, format string, args ...any) *Refusal {
	return refuse(rule, endpoint.Interface{}, format, args...)
}
