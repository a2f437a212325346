package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// greetTLS reads the certificate of a server.
func greetTLS(ctx context.Context, t *talk) error {
	_, err := t.startTLS(ctx)
	return err
}

// greetLDAPS reads the root over TLS, too.
func greetLDAPS(ctx context.Context, t *talk) error {
	ok, err := t.startTLS(ctx)
	if err != nil || !ok {
		return err
	}
	text := t.Text
	if err := greetLDAP(ctx, t); err != nil {
		return err
	}
	t.Text = cut(t.Text, MaxPortText/2) + "; " + text
	return nil
}

// startTLS goes on over TLS with whoever it is, and says what the certificate says and whether
// this host would trust it. Older versions than 1.2 are taken, to say so. It returns false if the server
// does not want to.
func (t *talk) startTLS(ctx context.Context) (bool, error) {
	if err := t.turn(ctx, nil); err != nil {
		return false, err
	}
	plain := &bounded{Conn: t.conn, left: maxGreeting}
	c := tls.Client(plain, &tls.Config{
		InsecureSkipVerify: true, // whether it can be trusted is said, whatever the answer
		ServerName:         t.q.Name,
		MinVersion:         tls.VersionTLS10,
		CipherSuites:       allSuites(),
	})
	err := c.Handshake()
	var alert *net.OpError
	switch {
	case errors.As(err, &alert) && alert.Op == "remote error": // as package tls calls it
		t.What, t.Text = "TLS", "refuses: "+alert.Err.Error()
		return false, nil
	case err != nil && strings.Contains(err.Error(), "certificate"): // so it got as far as that
		t.What = "TLS"
		t.problem("its certificate cannot be read: %v", err)
		return false, nil
	case err != nil:
		return false, err
	}
	t.use(c)
	t.heard()
	state := c.ConnectionState()
	if len(state.PeerCertificates) == 0 {
		return false, fmt.Errorf("%w: no certificate", errAnswer)
	}
	if state.Version < tls.VersionTLS12 {
		t.problem("it takes %s, which is out of date", tls.VersionName(state.Version))
	}
	cert := state.PeerCertificates[0]
	names := cert.Subject.String()
	if names == "" && len(cert.DNSNames) > 0 {
		names = cert.DNSNames[0]
	}
	t.verify(ctx, state.PeerCertificates)
	t.What = t.protocol.title
	t.Text = fmt.Sprintf("%s, %s by %s until %s", tls.VersionName(state.Version), part(names), part(cert.Issuer.String()), cert.NotAfter.UTC().Format(time.DateOnly))
	return true, nil
}

// allSuites are the ciphers of package tls, with those that it does not offer by itself.
func allSuites() (ids []uint16) {
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		ids = append(ids, s.ID)
	}
	return ids
}

// verify says what is wrong with a certificate, as this host would take it: for the name that was given, or
// nobody's if none was given: an address stands in few certificates.
func (t *talk) verify(ctx context.Context, chain []*x509.Certificate) {
	inner := x509.NewCertPool()
	for _, c := range chain[1:] {
		inner.AddCert(c)
	}
	verdict := make(chan error, 1)
	go func() { // Windows may look for certificates elsewhere, in its own time
		_, err := chain[0].Verify(x509.VerifyOptions{Intermediates: inner})
		verdict <- err
	}()
	select {
	case err := <-verdict:
		if err != nil {
			t.problem("its certificate is not trusted here: %s", strings.TrimPrefix(err.Error(), "x509: "))
		}
	case <-time.After(t.p.timeout()):
		t.problem("whether its certificate is trusted here was not to be found out in time")
	case <-ctx.Done():
		return
	}
	if t.q.Name == "" {
		return
	}
	if err := chain[0].VerifyHostname(t.q.Name); err != nil {
		t.problem("its certificate: %s", strings.TrimPrefix(err.Error(), "x509: "))
	}
}
