package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
)

// maxLines is the most lines that are read of one answer.
const maxLines = 64

// reply reads an answer of SMTP or FTP: lines that begin with a code, of which all but the last have a
// hyphen after it (RFC 5321, section 4.2; RFC 959, section 4.2).
func (t *talk) reply() (code string, lines []string, err error) {
	for len(lines) < maxLines {
		line, err := t.line()
		if err != nil {
			return "", nil, err
		}
		if code == "" {
			if len(line) < 3 || strings.Trim(line[:3], "0123456789") != "" {
				return "", nil, fmt.Errorf("%w: %q", errAnswer, clip(line))
			}
			code = line[:3]
		}
		rest, ours := strings.CutPrefix(line, code)
		more := strings.HasPrefix(rest, "-")
		if ours && rest != "" {
			line = rest[1:]
		}
		lines = append(lines, line)
		if ours && !more {
			return code, lines, nil
		}
	}
	return "", nil, errEnd
}

// greetSMTP hears the greeting and asks what the server can (RFC 5321, section 4.1.1.1).
func greetSMTP(ctx context.Context, t *talk) error {
	code, lines, err := t.greetingReply(ctx, "220")
	if err != nil {
		return err
	}
	t.What, t.Text = "SMTP", lines[0]
	if code != "220" {
		t.Text = code + " " + t.Text
		return nil
	}
	if err := t.turn(ctx, []byte("EHLO "+t.ourName()+"\r\n")); err != nil {
		return err
	}
	code, lines, err = t.reply()
	if err != nil {
		return err
	}
	for _, line := range lines {
		if code == "250" && strings.EqualFold(strings.TrimSpace(line), "STARTTLS") {
			t.Text = cut(t.Text, MaxPortText/2) + ", STARTTLS"
		}
	}
	t.bye(ctx, "QUIT\r\n")
	return nil
}

// greetFTP hears the greeting.
func greetFTP(ctx context.Context, t *talk) error {
	code, lines, err := t.greetingReply(ctx, "220")
	if err != nil {
		return err
	}
	t.What, t.Text = "FTP", lines[0]
	if code != "220" {
		t.Text = code + " " + t.Text
		return nil
	}
	t.bye(ctx, "QUIT\r\n")
	return nil
}

// greetingReply hears a greeting with the code, or a refusal to serve.
func (t *talk) greetingReply(ctx context.Context, want string) (code string, lines []string, err error) {
	if err := t.turn(ctx, nil); err != nil {
		return "", nil, err
	}
	code, lines, err = t.reply()
	if err == nil && code != want && code[0] != '4' && code[0] != '5' {
		err = fmt.Errorf("%w: code %s", errAnswer, code)
	}
	return code, lines, err
}

// ourName returns the address that we come from, as EHLO takes it.
func (t *talk) ourName() string {
	host, _, err := net.SplitHostPort(t.conn.LocalAddr().String())
	switch {
	case err != nil:
		return "localhost"
	case strings.Contains(host, ":"):
		return "[IPv6:" + host + "]"
	}
	return "[" + host + "]"
}

// firstLine hears a line that begins with one of the words.
func (t *talk) firstLine(ctx context.Context, words ...string) (string, error) {
	if err := t.turn(ctx, nil); err != nil {
		return "", err
	}
	line, err := t.line()
	if err != nil {
		return "", err
	}
	for _, w := range words {
		if strings.HasPrefix(line, w) {
			return line, nil
		}
	}
	return "", fmt.Errorf("%w: %q", errAnswer, clip(line))
}

// greetPOP3 hears the greeting (RFC 1939, section 4).
func greetPOP3(ctx context.Context, t *talk) error {
	line, err := t.firstLine(ctx, "+OK", "-ERR")
	if err != nil {
		return err
	}
	t.What, t.Text = "POP3", strings.TrimSpace(strings.TrimPrefix(line, "+OK"))
	t.bye(ctx, "QUIT\r\n")
	return nil
}

// greetIMAP hears the greeting (RFC 3501, section 7.1).
func greetIMAP(ctx context.Context, t *talk) error {
	line, err := t.firstLine(ctx, "* OK", "* PREAUTH", "* BYE")
	if err != nil {
		return err
	}
	t.What, t.Text = "IMAP", strings.TrimPrefix(strings.TrimPrefix(line, "* "), "OK ")
	t.bye(ctx, "a LOGOUT\r\n")
	return nil
}

// greetSSH hears the server's version, which other lines may precede (RFC 4253, section 4.2).
func greetSSH(ctx context.Context, t *talk) error {
	if err := t.turn(ctx, nil); err != nil {
		return err
	}
	for range maxLines {
		line, err := t.line()
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "SSH-") {
			t.What, t.Text = "SSH", line
			return nil
		}
	}
	return errEnd
}

// greetBanner hears whatever a server says by itself.
func greetBanner(ctx context.Context, t *talk) error {
	if err := t.turn(ctx, nil); err != nil {
		return err
	}
	if _, err := t.in.Peek(1); err != nil {
		return err
	}
	b, err := t.in.Peek(min(t.in.Buffered(), MaxPortText))
	if err != nil {
		return err
	}
	t.Text = strings.TrimRight(string(b), "\r\n")
	if strings.HasPrefix(t.Text, "ncacn_http/") {
		t.What = "RPC over HTTP"
	}
	return nil
}

// greetHTTP asks for the head of the first page (RFC 9110, section 9.3.2), which has no body that could
// be of any size.
func greetHTTP(ctx context.Context, t *talk) error {
	host := cmp.Or(t.q.Name, net.JoinHostPort(t.to.Addr().String(), fmt.Sprint(t.Port)))
	if err := t.turn(ctx, []byte("HEAD / HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: quaymaster\r\nConnection: close\r\n\r\n")); err != nil {
		return err
	}
	status, err := t.line()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(status, "HTTP/") {
		return fmt.Errorf("%w: %q", errAnswer, clip(status))
	}
	_, t.Text, _ = strings.Cut(status, " ")
	t.What = "HTTP"
	t.Text = part(t.Text)
	for range maxLines {
		line, err := t.line()
		if err != nil || line == "" {
			if errors.Is(err, errEnd) {
				return err
			}
			return nil // that it speaks HTTP is known
		}
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Server") {
			t.Text += ", " + strings.TrimSpace(value)
			return nil
		}
	}
	return nil
}
