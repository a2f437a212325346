package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// poolPolicy is by which quaymaster gives ports out when that is measured: all
// that can be given.
const poolPolicy = `pool:
  ports: [1024-65535]
  ports_internet_available: true
  use_internet_ports: true
`

// wantedPort is what asks for grant i: a port of TCP or of UDP in turn, since
// there are not enough of both for the many that are held.
func wantedPort(i int) api.GrantRequest {
	return api.GrantRequest{Dialect: endpoint.ONC.String(), TCP: i%2 == 0, UDP: i%2 == 1, Command: "bench"}
}

// grantPort asks quaymaster's control socket for a port, as client i's; releasePort
// gives it back. Both have the same grants.
type (
	grantPort   struct{ grants }
	releasePort struct{ grants }
)

// grants are the identifiers of the clients', by client; empty: none.
type grants []string

func (g grantPort) appendCall(b []byte, _ uint32, i int) []byte {
	body, _ := json.Marshal(wantedPort(i)) // of strings and bools
	return fmt.Appendf(b, "POST %s HTTP/1.1\r\nHost: quaymaster\r\nContent-Length: %d\r\n\r\n%s", api.GrantsPath, len(body), body)
}

func (g grantPort) check(reply []byte, _ uint32, i int) error {
	body, err := bodyOf(reply, http.StatusOK)
	if err != nil {
		return err
	}
	var given endpoint.GrantDocument
	if err := json.Unmarshal(body, &given); err != nil {
		return err
	}
	asked := wantedPort(i)
	if given.ID == "" || asked.TCP != (given.TCP != 0) || asked.UDP != (given.UDP != 0) {
		return fmt.Errorf("%+v for %+v", given, asked)
	}
	g.grants[i] = given.ID
	return nil
}

func (g releasePort) appendCall(b []byte, _ uint32, i int) []byte {
	return fmt.Appendf(b, "DELETE %s/%s HTTP/1.1\r\nHost: quaymaster\r\n\r\n", api.GrantsPath, g.grants[i])
}

func (g releasePort) check(reply []byte, _ uint32, i int) error {
	g.grants[i] = ""
	_, err := bodyOf(reply, http.StatusNoContent)
	return err
}

// replyLength finds the end of an HTTP reply whose length stands in its head.
func (grants) replyLength(b []byte) (int, error) {
	head, _, whole := bytes.Cut(b, []byte("\r\n\r\n"))
	if !whole {
		return 0, nil
	}
	n := len(head) + 4
	for line := range strings.Lines(string(head)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if name == "Content-Length" {
			length, err := strconv.ParseUint(value, 10, 16)
			return n + int(length), err
		}
	}
	return n, nil
}

// bodyOf returns the body of a whole reply, which must have the status.
func bodyOf(reply []byte, status int) ([]byte, error) {
	head, body, _ := bytes.Cut(reply, []byte("\r\n\r\n"))
	if !bytes.HasPrefix(head, fmt.Appendf(nil, "HTTP/1.1 %d ", status)) {
		return nil, fmt.Errorf("want status %d, got %q", status, reply)
	}
	return body, nil
}
