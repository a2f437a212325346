package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// A Client asks the daemon behind a control socket.
type Client struct {
	Path string      // of the socket
	HTTP http.Client // whose Transport dials it, whatever the address
}

// NewClient returns a client of the daemon whose control socket is at path,
// without asking anything yet.
func NewClient(path string) *Client {
	var d net.Dialer
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) }
	return &Client{Path: path, HTTP: http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// A RefusedError is what the daemon would not do; nothing of it was done.
type RefusedError struct{ Refusal }

func (e *RefusedError) Error() string { return strings.Join(e.Mistakes, "\n") }

// List returns everything that is registered, oldest first.
func (c *Client) List(ctx context.Context) (Listing, error) {
	var l Listing
	return l, c.do(ctx, http.MethodGet, EndpointsPath, nil, &l)
}

// Add registers endpoints, all or none, and returns them as they stand.
func (c *Client) Add(ctx context.Context, a Addition) (Listing, error) {
	var l Listing
	return l, c.do(ctx, http.MethodPost, EndpointsPath, a, &l)
}

// Grant gives the calling process ports.
func (c *Client) Grant(ctx context.Context, r GrantRequest) (endpoint.GrantDocument, error) {
	var g endpoint.GrantDocument
	return g, c.do(ctx, http.MethodPost, GrantsPath, r, &g)
}

// Release gives the ports of the grant with that id back.
func (c *Client) Release(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, GrantsPath+"/"+url.PathEscape(id), nil, nil)
}

// Pool returns what ports are given from, and to whom they were given.
func (c *Client) Pool(ctx context.Context) (Pool, error) {
	var p Pool
	return p, c.do(ctx, http.MethodGet, PoolPath, nil, &p)
}

// RemoveID ends the registration with that id.
func (c *Client) RemoveID(ctx context.Context, id endpoint.ID) error {
	return c.do(ctx, http.MethodDelete, EndpointsPath+"/"+id.String(), nil, nil)
}

// Remove ends the registrations of the interface that d names, on d's transport, or
// on all if d has none.
func (c *Client) Remove(ctx context.Context, d endpoint.Document) error {
	q := url.Values{"dialect": {d.Dialect}, "version": {d.Version.String()}}
	if d.Dialect == endpoint.DCE.String() {
		q.Set("uuid", d.UUID)
		setTransport(q, "protseq", d.ProtSeq)
	} else {
		q.Set("program", fmt.Sprint(d.Program))
		setTransport(q, "netid", d.NetID)
	}
	return c.do(ctx, http.MethodDelete, EndpointsPath+"?"+q.Encode(), nil, nil)
}

// setTransport leaves out what is not said. What is said goes as it is: were a
// mistake left out as well, all transports would be meant.
func setTransport(q url.Values, key, name string) {
	if name != "" {
		q.Set(key, name)
	}
}

// Watch calls f with a snapshot, then with every change, until ctx is
// cancelled (it returns nil), f fails, or the daemon ends.
func (c *Client) Watch(ctx context.Context, f func(Event) error) error {
	return watch(ctx, c, EndpointsPath+"?watch=true", f)
}

// watch calls f with each line of an answer that goes on.
func watch[E any](ctx context.Context, c *Client, path string, f func(E) error) error {
	answer, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	d := json.NewDecoder(answer.Body)
	for {
		var e E
		err := d.Decode(&e)
		switch {
		case ctx.Err() != nil:
			return nil
		case hungUp(err):
			return fmt.Errorf("%s: the daemon ended the connection", c.Path)
		case err != nil:
			return fmt.Errorf("%s: %w", c.Path, err)
		}
		if err := f(e); err != nil {
			return err
		}
	}
}

// do sends body if there is one, and decodes the answer into result unless that is nil.
func (c *Client) do(ctx context.Context, method, path string, body, result any) error {
	answer, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if result == nil {
		return nil
	}
	if err := json.NewDecoder(answer.Body).Decode(result); err != nil {
		return fmt.Errorf("%s: %w", c.Path, err)
	}
	io.Copy(io.Discard, answer.Body) // the rest, a line end: or the connection cannot be used again
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://quaymaster"+path, text)
	if err != nil {
		return nil, err
	}
	answer, err := c.HTTP.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if answer.StatusCode < 300 {
		return answer, nil
	}
	defer answer.Body.Close()
	var refusal Refusal
	if json.NewDecoder(answer.Body).Decode(&refusal); len(refusal.Mistakes) == 0 {
		return nil, fmt.Errorf("%s: %s", c.Path, answer.Status)
	}
	return nil, &RefusedError{refusal}
}

// explain returns an error of a request without the address that HTTP made up.
func (c *Client) explain(err error) error {
	var op *net.OpError
	switch {
	case hungUp(err):
		return fmt.Errorf("%s: the daemon ended the connection without an answer: it may have ended, or have as many connections as it takes", c.Path)
	case errors.As(err, &op):
		return op
	}
	return err
}

// hungUp tells whether an error means that the daemon closed the connection.
func hungUp(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	// What package http says, without a value to compare with, if the daemon was
	// quicker than the request.
	var request *url.Error
	return errors.As(err, &request) && request.Err.Error() == "http: server closed idle connection"
}
