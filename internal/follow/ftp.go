package follow

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"github.com/quaymaster/quaymaster/wire/ftp"
)

// Bounds of what one control channel of FTP can make its follower keep, or do.
const (
	ftpHeld     = 16 << 10 // bytes of commands that wait for their turn
	ftpWaiting  = 8        // commands that were sent to the server and not answered
	ftpRefusals = 16       // commands in a row that the server never saw
)

// minFTPPort is the lowest port that data may go to. Below are services, which data is not for.
const minFTPPort = 1024

// An ftpFollower follows a control connection of FTP.
//
// Client and server are kept in step: a command is sent on when the one before is answered, so that a reply is
// to one command whatever it says. Only what clients send while data flows does not wait. What is
// sent on are the lines that were read, with their ends, never the bytes that came.
type ftpFollower struct {
	ends   [2]netip.Addr
	refuse bool // what is unreadable

	lines   [2]ftp.LineReader
	replies ftp.ReplyReader
	command []byte     // of the client that waits for its turn, in lines; nil: none
	held    []byte     // what the client sent after it
	waiting []ftp.Verb // commands that the server has not answered; banner stands for none

	spoke    bool // the client has sent something
	begun    bool // and a command
	loggedIn bool
	onlyEPSV bool // after EPSV ALL
	noPort   bool // the last port for data came to nothing, though the server may still wait at one of before
	unread   bool // all that comes is passed on as it is
	refused  int  // commands in a row that the server never saw
	ended    *Refusal

	out   []byte // what steps send
	steps []ftpStep
}

// An ftpStep is a step whose data is not laid out yet.
type ftpStep struct {
	Step
	from, to int // of out
}

// banner is what the first reply answers.
const banner ftp.Verb = ""

// NewFTP returns a follower of a control connection of FTP (RFC 959, RFC 2428), from its beginning. Of the policy it
// heeds Ends, which name the addresses that promises are between, and RefuseUnreadable.
//
// Where the client names a port and the promise cannot be kept, the server is sent ABOR in place of it, to which its answer
// becomes an error for the client.
func NewFTP(p Policy) Follower {
	f := &ftpFollower{refuse: p.RefuseUnreadable, waiting: append(make([]ftp.Verb, 0, ftpWaiting), banner)}
	for side, end := range p.Ends {
		f.ends[side] = end.Addr().Unmap().WithZone("")
	}
	return f
}

// Follow implements [Follower].
func (f *ftpFollower) Follow(from Side, data []byte) ([]Step, error) {
	switch {
	case f.ended != nil:
		return nil, f.ended
	case f.unread:
		return []Step{{To: from.Other(), Data: data}}, nil
	}
	f.out, f.steps = emptied(f.out), f.steps[:0]
	if len(data) == 0 {
		return nil, nil
	}
	if from == Client {
		f.fromClient(data)
	} else {
		f.fromServer(data)
	}
	return f.done()
}

// emptied returns b without content, or nil where it grew large: most channels never need that much again.
func emptied(b []byte) []byte {
	if cap(b) > 2*ftp.MaxLine {
		return nil
	}
	return b[:0]
}

// Quiet implements [Follower].
func (f *ftpFollower) Quiet() bool { return !f.unread && len(f.waiting) == 0 && !f.Waiting() }

// Waiting reports whether something that the client sent waits for its turn, which comes with what the server sends.
func (f *ftpFollower) Waiting() bool { return f.command != nil || len(f.held) > 0 }

// done lays out the steps.
func (f *ftpFollower) done() ([]Step, error) {
	steps := make([]Step, len(f.steps))
	for i, s := range f.steps {
		steps[i] = s.Step
		if s.to > s.from {
			steps[i].Data = f.out[s.from:s.to:s.to]
		}
	}
	if f.ended == nil {
		return steps, nil // and no *Refusal that is nil
	}
	return steps, f.ended
}

// send adds a step that sends what was appended to out since from. Steps that only send are made one.
func (f *ftpFollower) send(s Step, from int) {
	plain := len(s.Promises) == 0 && s.Refused == nil && !s.Forget
	if n := len(f.steps); n > 0 && plain {
		last := &f.steps[n-1]
		if last.To == s.To && len(last.Promises) == 0 && last.Refused == nil {
			last.to = len(f.out)
			return
		}
	}
	f.steps = append(f.steps, ftpStep{s, from, len(f.out)})
}

// end ends the channel, and tells the client so where it can be told.
func (f *ftpFollower) end(rule, format string, args ...any) {
	f.ended = &Refusal{Rule: rule, Why: fmt.Sprintf(format, args...)}
	f.command, f.held = nil, nil
	if f.replies.Partial() {
		return
	}
	from := len(f.out)
	f.out = ftp.AppendReply(f.out, ftp.CodeClosing, "The gateway ends this session: "+ftpEnded[rule])
	f.send(Step{To: Client}, from)
}

// ftpEnded are the words for the client, by rule: none of them is from the network.
var ftpEnded = map[string]string{
	"state":      "commands and replies do not match.",
	"syntax":     "what was sent is not FTP.",
	"verb":       "what was sent is not FTP.",
	"unreadable": "it does not let encrypted sessions pass.",
}

// answer answers a command in the server's place.
func (f *ftpFollower) answer(code ftp.Code, text, rule, format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	if f.refused++; f.refused > ftpRefusals {
		f.end("state", "more than %d commands in a row were refused, the last because %s", ftpRefusals, why)
		return
	}
	from := len(f.out)
	f.out = ftp.AppendReply(f.out, code, text)
	f.send(Step{To: Client, Refused: &Refusal{Rule: rule, Why: why}}, from)
}

// fromClient takes what the client sent.
func (f *ftpFollower) fromClient(data []byte) {
	const handshake = 22 // type of a record of TLS (RFC 8446, section 5.1)
	first := !f.spoke
	f.spoke = true
	switch {
	case first && data[0] == handshake:
		f.encrypted(data)
	case len(f.held) > 0:
		f.commands(append(f.held, data...))
	default:
		f.commands(data)
	}
}

// encrypted handles a client that begins with TLS.
func (f *ftpFollower) encrypted(data []byte) {
	if f.refuse {
		f.end("unreadable", "the client began with TLS")
		return
	}
	f.unread = true
	from := len(f.out)
	f.out = append(f.out, data...)
	f.send(Step{To: Server, Refused: &Refusal{Rule: "unreadable", Why: "the session is encrypted from its beginning: none of its data connections is let through"}}, from)
}

// commands handles what has its turn of the commands in data, and keeps the rest.
func (f *ftpFollower) commands(data []byte) {
	used := 0
	for f.ended == nil && f.mayRead() {
		if f.command == nil {
			n, line, err := f.lines[Client].Feed(data[used:])
			used += n
			if err != nil {
				f.end("syntax", "the client: %v", err)
				return
			}
			if line == nil {
				break
			}
			f.command = line
		}
		c, err := ftp.ParseCommand(f.command)
		if err != nil {
			f.end("syntax", "the client: %v", err)
			return
		}
		if !f.mayRun(c.Verb) {
			break
		}
		f.command = nil
		f.run(c)
	}
	if f.ended != nil {
		return
	}
	rest := data[used:]
	if len(rest) > ftpHeld {
		f.end("state", "the client sent more than %d bytes of commands before the replies to earlier ones", ftpHeld)
		return
	}
	f.held = append(f.held[:0], rest...)
	if len(f.held) == 0 {
		f.held = emptied(f.held)
	}
}

// mayRead reports whether the next command may be looked at. Before the greeting it is not, since lftp can send one then, and after
// AUTH the next bytes may be no command.
func (f *ftpFollower) mayRead() bool {
	return !f.unread && (len(f.waiting) == 0 || f.waiting[0].Transfers())
}

// mayRun reports whether a command may be sent now: all when the server owes no reply, and while data
// flows what clients send to end it, to ask about it or to keep the connection busy.
func (f *ftpFollower) mayRun(v ftp.Verb) bool {
	switch v {
	case ftp.ABOR, ftp.STAT, ftp.NOOP, ftp.QUIT:
		return len(f.waiting) < ftpWaiting
	}
	return len(f.waiting) == 0
}

// run handles a command whose turn it is.
func (f *ftpFollower) run(c ftp.Command) {
	first := !f.begun
	f.begun = true
	switch {
	case first && !c.Verb.Known() || isForeign(c.Verb):
		f.end("verb", "the client sent %q, which is not FTP", c.Verb)
		return
	case f.lines[Client].Signalled() && c.Verb != ftp.ABOR && c.Verb != ftp.STAT && c.Verb != ftp.QUIT:
		f.end("syntax", "the client sent an interrupt of telnet before %q", c.Verb)
		return
	}
	switch c.Verb {
	case ftp.PASV, ftp.EPSV, ftp.PORT, ftp.EPRT:
		f.dataPort(c)
	case ftp.LPRT, ftp.LPSV, ftp.CPSV, ftp.SPSV:
		f.answer(ftp.CodeNotImplemented, "Use EPSV, PASV, EPRT or PORT.", "verb", "%s is not followed", c.Verb)
	case ftp.APPE, ftp.LIST, ftp.MLSD, ftp.NLST, ftp.RETR, ftp.STOR, ftp.STOU:
		if f.noPort {
			f.answer(ftp.CodeNoDataConn, "Use PASV or PORT first.", "state", "%s without a port for its data", c.Verb)
			return
		}
		f.pass(c)
	case ftp.AUTH:
		if f.refuse {
			f.answer(ftp.CodePolicy, "Encrypted sessions do not pass this gateway.", "unreadable", "the client asked for encryption")
			return
		}
		f.pass(c)
	default:
		if !c.Verb.Known() && !f.loggedIn {
			f.answer(ftp.CodeUnknownVerb, "Unknown command.", "verb", "the client sent %q before it was logged in", c.Verb)
			return
		}
		f.pass(c)
	}
}

// isForeign reports whether v is a method of HTTP, SIP or RTSP, or a greeting of SMTP: what is tried where a browser
// can be made to send what somebody else wrote.
func isForeign(v ftp.Verb) bool {
	switch v {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND",
		"INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "PRACK", "UPDATE", "INFO", "REFER", "NOTIFY", "MESSAGE", "PUBLISH",
		"DESCRIBE", "ANNOUNCE", "SETUP", "PLAY", "RECORD", "TEARDOWN", "HELO", "EHLO":
		return true
	}
	return false
}

// pass sends a command on.
func (f *ftpFollower) pass(c ftp.Command) {
	from := len(f.out)
	f.out = ftp.AppendCommand(f.out, c)
	f.waiting = append(f.waiting, c.Verb)
	f.send(Step{To: Server}, from)
}

// dataPort handles PASV, EPSV, PORT and EPRT.
func (f *ftpFollower) dataPort(c ftp.Command) {
	all := c.Verb == ftp.EPSV && bytes.EqualFold(c.Arg, []byte("ALL"))
	switch {
	case !f.loggedIn:
		f.answer(ftp.CodeNotLoggedIn, "Log in first.", "state", "%s before the client was logged in", c.Verb)
	case f.onlyEPSV && c.Verb != ftp.EPSV:
		f.answer(ftp.CodeBadSequence, "Only EPSV after EPSV ALL.", "state", "%s after EPSV ALL", c.Verb)
	case c.Verb == ftp.PORT:
		a, err := ftp.ParsePort(c.Arg)
		f.active(c.Verb, a, err)
	case c.Verb == ftp.EPRT:
		a, err := ftp.ParseExtendedPort(c.Arg)
		f.active(c.Verb, a, err)
	case c.Verb == ftp.PASV && len(c.Arg) > 0:
		f.answer(ftp.CodeBadArgument, "PASV has no argument.", "syntax", "PASV with an argument")
	case c.Verb == ftp.PASV && !f.ends[Server].Is4():
		f.answer(ftp.CodeNoDataConn, "Use EPSV.", "address", "PASV, which has no words for IPv6")
	case c.Verb == ftp.PASV || len(c.Arg) == 0:
		f.pass(ftp.Command{Verb: c.Verb})
	case all:
		f.pass(ftp.Command{Verb: ftp.EPSV, Arg: []byte("ALL"), HasArg: true})
		f.waiting[len(f.waiting)-1] = epsvAll
	case string(c.Arg) == fmt.Sprint(ftp.ProtocolOf(f.ends[Server])):
		f.pass(c)
	default:
		f.answer(ftp.CodeNetworkProtocol, f.protocol(), "address", "EPSV for another protocol than that of the session")
	}
}

// epsvAll stands for EPSV ALL among the commands that wait.
const epsvAll ftp.Verb = "EPSV ALL"

// protocol is the text of reply 522 (RFC 2428, section 2).
func (f *ftpFollower) protocol() string {
	return fmt.Sprintf("Network protocol not supported, use (%d)", ftp.ProtocolOf(f.ends[Client]))
}

// active handles PORT and EPRT, which name where the client waits for the server.
func (f *ftpFollower) active(v ftp.Verb, a netip.AddrPort, err error) {
	client := f.ends[Client]
	switch {
	case err != nil:
		f.answer(ftp.CodeBadArgument, "Bad address.", "syntax", "%v", err)
	case a.Addr().Is4() != client.Is4():
		f.answer(ftp.CodeNetworkProtocol, f.protocol(), "address", "%s names %v, but the session is from %v", v, a, client)
	case a.Addr() != client || !isHost(client):
		f.answer(ftp.CodeUnknownVerb, "Data connections are to your own address only.", "address", "%s names %v, but the session is from %v", v, a, client)
	case a.Port() < minFTPPort:
		f.answer(ftp.CodeUnknownVerb, "Data connections are to ports from 1024 only.", "port", "%s names port %d", v, a.Port())
	default:
		from := len(f.out)
		f.out = appendActive(f.out, v, a)
		f.waiting = append(f.waiting, v)
		f.send(Step{
			To:       Server,
			Promises: []Promise{{By: Server, Protocol: 6, Port: a.Port(), Once: true, For: "ftp data (active)"}},
			Forget:   true,
			Else:     []byte("ABOR\r\n"),
			ElseTo:   Server,
			Rewrite:  func(outside netip.AddrPort) []byte { return appendActive(nil, v, outside) },
		}, from)
	}
}

// isHost reports whether a is the address of one host, which can be one of a network.
func isHost(a netip.Addr) bool { return a.IsGlobalUnicast() || a.IsLinkLocalUnicast() }

func appendActive(b []byte, v ftp.Verb, a netip.AddrPort) []byte {
	b = append(b, v...)
	b = append(b, ' ')
	if v == ftp.PORT {
		b = ftp.AppendPort(b, a)
	} else {
		b = ftp.AppendExtendedPort(b, a)
	}
	return append(b, "\r\n"...)
}

// fromServer takes what the server sent, and then what the client sent before, if it has its turn now.
func (f *ftpFollower) fromServer(data []byte) {
	for len(data) > 0 && f.ended == nil {
		if f.unread {
			f.end("state", "the server sent more after it agreed to encryption, before the client began it")
			return
		}
		n, line, err := f.lines[Server].Feed(data)
		data = data[n:]
		switch {
		case err != nil:
			f.end("syntax", "the server: %v", err)
		case line != nil && f.lines[Server].Signalled():
			f.end("syntax", "the server sent telnet commands")
		case line != nil:
			f.reply(line)
		}
	}
	// What the server has said is all older than what it is sent now, so it answers nothing of that.
	if f.ended == nil && !f.unread && !f.lines[Server].Partial() {
		f.commands(f.held)
	}
}

// reply handles a line of the server.
func (f *ftpFollower) reply(line []byte) {
	partial := f.replies
	l, err := f.replies.Line(line)
	if err != nil {
		f.end("syntax", "the server: %v", err)
		return
	}
	if l.Code == ftp.CodeClosing { // which is said whenever the server likes
		f.relay(l, false)
		if l.Last && len(f.waiting) > 0 && f.waiting[0] != banner {
			f.answered(l.Code)
		}
		return
	}
	if why := f.unasked(l); why != "" {
		f.replies = partial // none of it is passed on
		f.end("state", "the server sent a reply %d, %s", l.Code, why)
		return
	}
	v := f.waiting[0]
	switch {
	case v == ftp.PASV || v == ftp.EPSV:
		if l.Last { // the lines before are not needed
			f.answered(l.Code)
			f.passive(v, l)
		}
	case v == ftp.PORT || v == ftp.EPRT:
		if l.Last {
			f.answered(l.Code)
			f.activeReply(l)
		}
	case !l.Last || l.Code.Preliminary():
		f.relay(l, false)
	default:
		f.final(v, l)
	}
}

// unasked says why a reply cannot be one to the commands that the server was sent; empty: it can be.
func (f *ftpFollower) unasked(l ftp.ReplyLine) string {
	if len(f.waiting) == 0 {
		return "but owes none"
	}
	good := false
	v := f.waiting[0]
	switch v {
	case ftp.PASV:
		good = l.Code == ftp.CodePassive
	case ftp.EPSV:
		good = l.Code == ftp.CodeExtendedPassive
	case ftp.PORT, ftp.EPRT:
		good = l.Code == ftp.CodeCommandOK || l.Code == ftp.CodeNoTransfer || l.Code == ftp.CodeAborted
	case banner:
		good = l.Code.Preliminary() || l.Code == ftp.CodeReady
	default:
		good = l.Code != ftp.CodePassive && l.Code != ftp.CodeLongPassive && l.Code != ftp.CodeExtendedPassive
	}
	if good || l.Code.Failed() {
		return ""
	}
	return fmt.Sprintf("which is none to %q", v)
}

// answered takes the command off those that wait that a final reply is to: the oldest, but for those that are answered
// while data still flows.
func (f *ftpFollower) answered(c ftp.Code) {
	i := 0
	if len(f.waiting) > 1 && f.waiting[0].Transfers() {
		switch c {
		case ftp.CodeCommandOK, ftp.CodeSystemStatus, ftp.CodeDirectoryStatus, ftp.CodeFileStatus: // NOOP, STAT
			i = 1
		}
	}
	f.waiting = slices.Delete(f.waiting, i, i+1)
	f.refused = 0
}

// relay sends a line of a reply to the client.
func (f *ftpFollower) relay(l ftp.ReplyLine, forget bool) {
	from := len(f.out)
	f.out = ftp.AppendReplyLine(f.out, l)
	f.send(Step{To: Client, Forget: forget}, from)
}

// final handles the last line of the final reply to v, which is not about data connections.
func (f *ftpFollower) final(v ftp.Verb, l ftp.ReplyLine) {
	if v == banner && l.Code != ftp.CodeReady {
		f.relay(l, false) // and wait: the client has nothing to say to that
		return
	}
	f.answered(l.Code)
	switch {
	case v == ftp.AUTH && (l.Code == ftp.CodeSecure || l.Code == ftp.CodeSecureData):
		f.secure(l)
		return
	case v == ftp.REIN && !l.Code.Failed():
		f.loggedIn, f.onlyEPSV = false, false
		f.relay(l, true)
		return
	case v == ftp.USER && !l.Code.Failed():
		f.loggedIn = false
		fallthrough
	case v == ftp.PASS, v == ftp.ACCT:
		f.loggedIn = f.loggedIn || l.Code == ftp.CodeLoggedIn || l.Code == ftp.CodeLoggedInSecure
	case v == epsvAll && l.Code == ftp.CodeCommandOK:
		f.onlyEPSV = true
	}
	f.relay(l, false)
}

// secure handles the reply after which nothing can be read.
func (f *ftpFollower) secure(l ftp.ReplyLine) {
	if len(f.held) > 0 || f.lines[Client].Partial() {
		f.end("state", "the client sent more after AUTH, before the server agreed to encryption")
		return
	}
	f.unread = true
	from := len(f.out)
	f.out = ftp.AppendReplyLine(f.out, l)
	f.send(Step{To: Client, Forget: true,
		Refused: &Refusal{Rule: "unreadable", Why: "the session goes on encrypted: none of its data connections is let through"}}, from)
}

// passive handles the last line of the reply to PASV or EPSV.
func (f *ftpFollower) passive(v ftp.Verb, l ftp.ReplyLine) {
	if l.Code.Failed() {
		from := len(f.out)
		f.out = ftp.AppendReplyLine(f.out, ftp.ReplyLine{Code: l.Code, First: true, Last: true, Text: l.Text})
		f.send(Step{To: Client}, from)
		return
	}
	server := f.ends[Server]
	var named netip.AddrPort
	var err error
	if v == ftp.PASV {
		named, err = ftp.ParsePassive(l.Text)
	} else {
		var port uint16
		port, err = ftp.ParseExtendedPassive(l.Text)
		named = netip.AddrPortFrom(server, port)
	}
	switch {
	case err != nil:
		f.noPassive("syntax", "%v", err)
		return
	case named.Port() < minFTPPort:
		f.noPassive("port", "the server names port %d for data", named.Port())
		return
	}
	s := Step{
		To:       Client,
		Promises: []Promise{{By: Client, Protocol: 6, Port: named.Port(), Once: true, For: "ftp data (passive)"}},
		Forget:   true,
		Else:     ftp.AppendReply(nil, ftp.CodeNoDataConn, noDataConn),
		ElseTo:   Client,
	}
	f.noPort = false
	from := len(f.out)
	if v == ftp.EPSV {
		f.out = ftp.AppendExtendedPassive(f.out, named.Port())
	} else {
		f.out = ftp.AppendPassive(f.out, netip.AddrPortFrom(server, named.Port()))
	}
	if named.Addr() != server {
		s.Refused = &Refusal{Rule: "address", Why: fmt.Sprintf("the server names %v for data, the client is told %v", named.Addr(), server)}
	}
	f.send(s, from)
}

// noDataConn is the text of reply 425 (RFC 959, section 4.2).
const noDataConn = "Can't open data connection."

// noPassive answers PASV or EPSV in the server's place, whose reply is no good.
func (f *ftpFollower) noPassive(rule, format string, args ...any) {
	f.noPort = true
	f.answer(ftp.CodeNoDataConn, noDataConn, rule, format, args...)
}

// activeReply handles the last line of the reply to PORT or EPRT, or to the ABOR that was sent in place of it.
func (f *ftpFollower) activeReply(l ftp.ReplyLine) {
	f.noPort = l.Code != ftp.CodeCommandOK
	from := len(f.out)
	if l.Code == ftp.CodeNoTransfer || l.Code == ftp.CodeAborted {
		f.out = ftp.AppendReply(f.out, ftp.CodeNoDataConn, noDataConn)
	} else {
		f.out = ftp.AppendReplyLine(f.out, ftp.ReplyLine{Code: l.Code, First: true, Last: true, Text: l.Text})
	}
	f.send(Step{To: Client, Forget: f.noPort}, from)
}
