package main

import (
	"cmp"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/quaymaster/quaymaster/internal/probe/auth"
)

// passwordVariable is where the password is that no file is named for.
const passwordVariable = "QUAYMASTER_PASSWORD"

// authFlags say who asks servers of DCE that want to know.
type authFlags struct {
	user, passwordFile, level, target string
	kerberos                          bool
}

func (f *authFlags) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&f.user, "user", "", "`who` asks over DCE, by NTLM: DOMAIN\\user, user@REALM or user; the password is read from --password-file, else "+passwordVariable+", else the terminal")
	flags.StringVar(&f.passwordFile, "password-file", "", "`FILE` whose first line is the password")
	flags.BoolVar(&f.kerberos, "kerberos", false, "say who asks by Kerberos, with the tickets that kinit got")
	flags.StringVar(&f.level, "auth-level", "", "`level` of authentication: connect, integrity (signed) or privacy (sealed; default)")
	flags.StringVar(&f.target, "target", "", "Kerberos `principal` of the server (default host/HOST)")
}

// authFlagNames are the flags that need --user or --kerberos.
var authFlagNames = []string{"password-file", "auth-level", "target"}

// check refuses what does not go together.
func (f *authFlags) check(changed func(string) bool) error {
	for _, name := range authFlagNames {
		if changed(name) && f.user == "" && !f.kerberos {
			return usagef("--%s goes with --user or --kerberos", name)
		}
	}
	switch {
	case f.kerberos && f.passwordFile != "":
		return usagef("--kerberos takes tickets, not a password: kinit gets them")
	case f.target != "" && !f.kerberos:
		return usagef("--target goes with --kerberos")
	}
	if f.level != "" {
		if _, err := auth.ParseLevel(f.level); err != nil {
			return usagef("--auth-level: %w", err)
		}
	}
	return nil
}

// identity returns who asks, which the caller closes; nil is nobody in particular.
func (f *authFlags) identity() (*auth.Identity, error) {
	if f.user == "" && !f.kerberos {
		return nil, nil
	}
	o := auth.Options{
		User: f.user, Password: f.password, Kerberos: f.kerberos, Target: f.target,
		CCache: cmp.Or(os.Getenv("KRB5CCNAME"), fmt.Sprintf("/tmp/krb5cc_%d", os.Getuid())), Config: os.Getenv("KRB5_CONFIG"),
	}
	if f.level != "" {
		o.Level, _ = auth.ParseLevel(f.level) // which check has done
	}
	return auth.New(o)
}

// password reads the password. It is never a word of the command line, which everybody on
// the host can read.
func (f *authFlags) password() ([]byte, error) {
	if f.passwordFile != "" {
		return auth.PasswordFile(f.passwordFile)()
	}
	if text, ok := os.LookupEnv(passwordVariable); ok {
		os.Unsetenv(passwordVariable)
		return []byte(text), nil
	}
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		return nil, usagef("no password for %s: name a file (--password-file), set %s, or ask from a terminal", f.user, passwordVariable)
	}
	fmt.Fprintf(os.Stderr, "password of %s: ", f.user)
	defer fmt.Fprintln(os.Stderr)
	return term.ReadPassword(in)
}
