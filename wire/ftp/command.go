package ftp

import (
	"bytes"
	"errors"
	"fmt"
)

// A Verb is the name of a command, in capitals.
type Verb string

// Verbs.
const (
	ABOR Verb = "ABOR" // RFC 959, section 4.1
	ACCT Verb = "ACCT"
	ALLO Verb = "ALLO"
	APPE Verb = "APPE"
	CDUP Verb = "CDUP"
	CWD  Verb = "CWD"
	DELE Verb = "DELE"
	HELP Verb = "HELP"
	LIST Verb = "LIST"
	MKD  Verb = "MKD"
	MODE Verb = "MODE"
	NLST Verb = "NLST"
	NOOP Verb = "NOOP"
	PASS Verb = "PASS"
	PASV Verb = "PASV"
	PORT Verb = "PORT"
	PWD  Verb = "PWD"
	QUIT Verb = "QUIT"
	REIN Verb = "REIN"
	REST Verb = "REST"
	RETR Verb = "RETR"
	RMD  Verb = "RMD"
	RNFR Verb = "RNFR"
	RNTO Verb = "RNTO"
	SITE Verb = "SITE"
	SMNT Verb = "SMNT"
	STAT Verb = "STAT"
	STOR Verb = "STOR"
	STOU Verb = "STOU"
	STRU Verb = "STRU"
	SYST Verb = "SYST"
	TYPE Verb = "TYPE"
	USER Verb = "USER"

	XCUP Verb = "XCUP" // RFC 775
	XCWD Verb = "XCWD"
	XMKD Verb = "XMKD"
	XPWD Verb = "XPWD"
	XRMD Verb = "XRMD"

	LPRT Verb = "LPRT" // RFC 1639
	LPSV Verb = "LPSV"

	ADAT Verb = "ADAT" // RFC 2228, RFC 4217
	AUTH Verb = "AUTH"
	CCC  Verb = "CCC"
	CONF Verb = "CONF"
	ENC  Verb = "ENC"
	MIC  Verb = "MIC"
	PBSZ Verb = "PBSZ"
	PROT Verb = "PROT"

	FEAT Verb = "FEAT" // RFC 2389
	OPTS Verb = "OPTS"

	EPRT Verb = "EPRT" // RFC 2428
	EPSV Verb = "EPSV"

	LANG Verb = "LANG" // RFC 2640

	MDTM Verb = "MDTM" // RFC 3659
	MLSD Verb = "MLSD"
	MLST Verb = "MLST"
	SIZE Verb = "SIZE"

	HOST Verb = "HOST" // RFC 7151

	CLNT Verb = "CLNT" // of no RFC, but common
	CPSV Verb = "CPSV" // PASV for data between two servers
	MFMT Verb = "MFMT"
	SPSV Verb = "SPSV" // PASV with a port alone
)

// verbs has those above.
var verbs = set(
	ABOR, ACCT, ADAT, ALLO, APPE, AUTH, CCC, CDUP, CLNT, CONF, CPSV, CWD, DELE, ENC, EPRT, EPSV, FEAT, HELP, HOST,
	LANG, LIST, LPRT, LPSV, MDTM, MFMT, MIC, MKD, MLSD, MLST, MODE, NLST, NOOP, OPTS, PASS, PASV, PBSZ, PORT, PROT, PWD, QUIT,
	REIN, REST, RETR, RMD, RNFR, RNTO, SITE, SIZE, SMNT, SPSV, STAT, STOR, STOU, STRU, SYST, TYPE, USER, XCUP, XCWD, XMKD, XPWD, XRMD,
)

func set(all ...Verb) map[Verb]Verb {
	m := make(map[Verb]Verb, len(all))
	for _, v := range all {
		m[v] = v
	}
	return m
}

// Known reports whether v is a verb of this package. Servers have others.
func (v Verb) Known() bool { return verbs[v] != "" }

// Transfers reports whether v needs a data connection.
func (v Verb) Transfers() bool {
	switch v {
	case APPE, LIST, MLSD, NLST, RETR, STOR, STOU:
		return true
	}
	return false
}

// A Command is what a client sends (RFC 959, section 5.3).
type Command struct {
	Verb   Verb
	Arg    []byte // after the blank, which is no part of it: all else is
	HasArg bool   // there is a blank after the verb: "PASS " has an argument that is empty
}

var errVerb = errors.New("begins with no verb")

// ParseCommand reads a line without its end. The argument is part of it.
func ParseCommand(line []byte) (Command, error) {
	verb, arg, has := bytes.Cut(line, []byte{' '})
	if len(verb) == 0 || len(verb) > MaxVerb {
		return Command{}, fmt.Errorf("ftp: command of %d bytes %w", len(line), errVerb)
	}
	var upper [MaxVerb]byte
	for i, c := range verb {
		switch {
		case 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9' && i > 0:
		default:
			return Command{}, fmt.Errorf("ftp: command of %d bytes %w", len(line), errVerb)
		}
		upper[i] = c
	}
	name := upper[:len(verb)]
	v, ok := verbs[Verb(name)] // without a new string
	if !ok {
		v = Verb(name)
	}
	return Command{v, arg, has}, nil
}

// AppendCommand appends c as a line with its end.
func AppendCommand(b []byte, c Command) []byte {
	b = append(b, c.Verb...)
	if c.HasArg {
		b = append(b, ' ')
		b = append(b, c.Arg...)
	}
	return append(b, "\r\n"...)
}
