//go:build !noauth

package auth

import (
	"cmp"
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/oiweiwei/go-msrpc/ssp/credential"
	"github.com/oiweiwei/go-msrpc/ssp/gssapi"
	"github.com/oiweiwei/go-msrpc/ssp/krb5"
	"github.com/oiweiwei/gokrb5.fork/v9/client"
	"github.com/oiweiwei/gokrb5.fork/v9/config"
	"github.com/oiweiwei/gokrb5.fork/v9/credentials"
	"github.com/oiweiwei/gokrb5.fork/v9/iana/flags"

	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
)

const (
	defaultConfig = "/etc/krb5.conf"
	// kdcTime is how long connecting to one KDC may take. Its answer has five seconds.
	kdcTime = 5 * time.Second
	// useTime is how long a ticket is taken to be good after it was got: for one exchange.
	useTime = time.Hour
)

// A kerberosClient is a user by the tickets of a credential cache. Tickets for servers that it lacks
// are got from the realm's KDC once, and not put into the file.
type kerberosClient struct {
	level  dcerpc.AuthLevel
	config *config.Config
	cache  *credentials.CCache

	mu  sync.Mutex // guards kdc
	kdc *client.Client
}

func newKerberos(o Options) (*kerberosClient, error) {
	path, err := cachePath(o.CCache)
	if err != nil {
		return nil, err
	}
	c := &kerberosClient{level: o.Level}
	if c.cache, err = readCache(path); err != nil {
		return nil, fmt.Errorf("tickets of %s: %w", path, err)
	}
	if err := c.check(o.User, time.Now()); err != nil {
		return nil, fmt.Errorf("tickets of %s: %w", path, err)
	}
	from := cmp.Or(o.Config, defaultConfig)
	if c.config, err = krb5.LoadKRB5Conf(from); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	c.kdc, err = client.NewFromCCacheOptionalTGT(c.cache, c.config, client.DisablePAFXFAST(true), client.Dialer(&net.Dialer{Timeout: kdcTime}))
	if err != nil {
		return nil, fmt.Errorf("tickets of %s: %w", path, err)
	}
	return c, nil
}

// cachePath returns the path of a cache by the name that KRB5CCNAME gives it.
func cachePath(name string) (string, error) {
	kind, path, ok := strings.Cut(name, ":")
	switch {
	case name == "":
		return "", errors.New("no credential cache is named: Kerberos needs the file that kinit writes, where KRB5CCNAME says")
	case ok && kind == "FILE":
		return path, nil
	case ok && len(kind) > 1 && kind == strings.ToUpper(kind) && !strings.ContainsAny(kind, `/\`): // a letter is a drive
		return "", fmt.Errorf("tickets in %s are not read, those in a FILE: are: KRB5CCNAME=FILE:/path kinit", kind)
	}
	return name, nil
}

// readCache reads a file of tickets.
func readCache(path string) (_ *credentials.CCache, err error) {
	defer guard(&err, "the credential cache") // one that is cut off
	return credentials.LoadCCache(path)
}

// check tells what is wrong with the tickets of a user; without a name whoever they are of.
func (c *kerberosClient) check(user string, now time.Time) error {
	who := c.cache.DefaultPrincipal
	name := who.PrincipalName.PrincipalNameString()
	domain, want := splitUser(user)
	inRealm := strings.Contains(user, "@")
	if user != "" && (!strings.EqualFold(name, want) || inRealm && !strings.EqualFold(who.Realm, domain)) {
		return fmt.Errorf("they are of %s@%s, not of %s", name, who.Realm, user)
	}
	var last time.Time
	for _, t := range c.cache.GetEntries() {
		if t.EndTime.After(last) {
			last = t.EndTime
		}
	}
	switch {
	case last.IsZero():
		return errors.New("there are none: run kinit")
	case last.Before(now):
		return fmt.Errorf("they have run out at %s: run kinit", last.Local().Format(time.DateTime))
	}
	return nil
}

func (c *kerberosClient) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.cache.Credentials {
		clear(t.Key.KeyValue)
	}
	c.kdc.Destroy()
}

func (c *kerberosClient) begin(target string) (probe.DCESecurity, error) {
	ticket, principal, err := c.ticket(target)
	if err != nil {
		return nil, fmt.Errorf("no Kerberos ticket for %s: %w", target, err)
	}
	who := c.cache.DefaultPrincipal
	s := &kerberosSecurity{level: c.level}
	s.krb5.Config = &krb5.Config{
		KRB5Config: c.config,
		Credential: credential.NewFromCCacheV9(who.PrincipalName.PrincipalNameString(), ticket, credential.Domain(who.Realm)),
		SName:      principal,
		DCEStyle:   true,
		APOptions:  []int{flags.APOptionMutualRequired},
	}
	for _, service := range services[c.level] {
		s.krb5.Config.Flags = append(s.krb5.Config.Flags, int(service))
	}
	return guarded{s}, nil
}

// services are those of GSS-API that a level needs. Asked for more Samba does not answer calls.
var services = map[dcerpc.AuthLevel][]gssapi.Cap{
	dcerpc.LevelConnect:   {gssapi.MutualAuthn, gssapi.DCEStyle},
	dcerpc.LevelIntegrity: {gssapi.MutualAuthn, gssapi.DCEStyle, gssapi.ReplayDetection, gssapi.Sequencing, gssapi.Integrity},
	dcerpc.LevelPrivacy:   {gssapi.MutualAuthn, gssapi.DCEStyle, gssapi.ReplayDetection, gssapi.Sequencing, gssapi.Integrity, gssapi.Confidentiality},
}

// ticket returns a cache with nothing but the ticket for a server, and the server's name in it.
// A connection's own client knows that cache only, and so never asks a KDC.
func (c *kerberosClient) ticket(target string) (_ *credentials.CCache, _ string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer guard(&err, "the KDC's answer")
	t, key, err := c.kdc.GetServiceTicket(target)
	if err != nil {
		return nil, "", err
	}
	encoded, err := t.Marshal()
	if err != nil {
		return nil, "", err
	}
	who := c.cache.DefaultPrincipal
	return &credentials.CCache{
		Version:          c.cache.Version,
		DefaultPrincipal: who,
		Credentials: []*credentials.Credential{{
			Client:  who,
			Server:  credentials.Principal{Realm: t.Realm, PrincipalName: t.SName},
			Key:     key,
			EndTime: time.Now().Add(useTime),
			Ticket:  encoded,
		}},
	}, t.SName.PrincipalNameString(), nil
}

// A kerberosSecurity is [probe.DCESecurity] by Kerberos in the way of DCE: AP-REQ, AP-REP, AP-REP
// (MS-KILE, section 3.4.5.1). The last travels in rpc_auth_3.
type kerberosSecurity struct {
	level dcerpc.AuthLevel
	krb5  krb5.Authentifier
	begun bool
}

func (s *kerberosSecurity) Kind() (dcerpc.AuthType, dcerpc.AuthLevel) {
	return dcerpc.AuthKerberos, s.level
}

func (s *kerberosSecurity) Size() int {
	return s.krb5.OutboundSignatureSize(context.Background(), s.level == dcerpc.LevelPrivacy)
}

func (s *kerberosSecurity) Next(server []byte) (token []byte, more bool, err error) {
	ctx := context.Background()
	if !s.begun {
		s.begun = true
		token, err = s.krb5.APRequest(ctx)
		return token, true, err
	}
	if len(server) == 0 {
		return nil, false, errors.New("the server does not answer Kerberos with a token")
	}
	token, err = s.krb5.APReply(ctx, server)
	return token, false, err
}

func (s *kerberosSecurity) Protect(pdu, stub []byte, headers bool) ([]byte, error) {
	ctx, all := context.Background(), signed(pdu, stub, headers)
	if s.level == dcerpc.LevelPrivacy {
		return s.krb5.WrapExOutboundPayload(ctx, all, [][]byte{stub})
	}
	return s.krb5.MakeOutboundSignature(ctx, all)
}

func (s *kerberosSecurity) Unprotect(pdu, stub, token []byte, headers bool) error {
	ctx, all := context.Background(), signed(pdu, stub, headers)
	if s.level == dcerpc.LevelPrivacy {
		ok, err := s.krb5.UnwrapExInboundPayload(ctx, all, [][]byte{stub}, token)
		if err == nil && !ok {
			err = errForged
		}
		return err
	}
	want, err := s.krb5.MakeInboundSignature(ctx, all)
	if err == nil && !hmac.Equal(want, token) {
		err = errForged
	}
	return err
}

// signed is what is signed.
func signed(pdu, stub []byte, headers bool) [][]byte {
	if headers {
		return [][]byte{pdu}
	}
	return [][]byte{stub}
}
