package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"strconv"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/internal/registry"
)

// loadPolicy makes Policy of what the key pool says in a configuration file.
func (o *Options) loadPolicy(name string, f *config.File) config.Mistakes {
	const path = "$.pool"
	if o.Pool == nil {
		if f.Has(path) {
			return config.Mistakes{f.Mistake(path, "pool: there is no policy here: write one as quaymaster pool convert FILE --to yaml does, or remove the key")}
		}
		return nil
	}
	o.Policy = o.Pool.Document(name, f, path)
	_, err := o.Policy.Valid()
	var mistakes config.Mistakes
	errors.As(err, &mistakes)
	return mistakes
}

func (o *Options) checkPoolFile() error {
	if o.PoolFile == "-" {
		return errors.New("--pool -: standard input cannot be read again on SIGHUP: name a file")
	}
	return nil
}

// pools reads what ports are given from. Of a policy that is valid but hardly meant
// the log tells. The error is a [config.Mistakes] if the policy is not what it should be,
// or if somebody else than root and starter, the uid of who started the daemon, can
// change it.
func (o *Options) pools(host *portpool.Host, starter int, log *slog.Logger) (registry.Pools, error) {
	pools := registry.Pools{Host: host}
	d, err := o.readPolicy(starter)
	if d == nil || err != nil {
		return pools, err
	}
	if pools.Policy, err = d.Valid(); err != nil {
		return pools, err
	}
	pools.Source = absolute(d.Name)
	hint := "quaymaster pool lint " + d.Name + " tells more"
	if o.PoolFile == "" {
		hint = "quaymaster pool lint tells more, of the key pool in a file of its own"
	}
	for _, f := range portpool.Lint(d, host, catalog.Builtin()).Findings {
		if f.Severity == portpool.Error {
			log.Warn("the policy of ports is hardly what was meant", "err", f.Mistake(d.Name), "hint", hint)
		}
	}
	return pools, nil
}

// readPolicy returns what is said of a policy, nil if nothing is.
func (o *Options) readPolicy(starter int) (*portpool.Document, error) {
	if o.PoolFile == "" {
		return o.Policy, nil
	}
	f, err := openTrusted(o.PoolFile, starter)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return portpool.Read(o.PoolFile, f)
}

// firstPools returns the pools that the daemon starts with.
func (o *Options) firstPools(starter int, log *slog.Logger) (registry.Pools, error) {
	host, err := portpool.ReadHost()
	if err != nil {
		log.Warn("no ports are given out, since it is not known what the kernel does with them", "err", err)
	}
	pools, err := o.pools(host, starter, log)
	var file *fs.PathError
	if errors.As(err, &file) {
		return pools, fmt.Errorf("--pool: %w", err)
	}
	return pools, err
}

// warnUnreadable tells the log if the policy cannot be read again, now that the
// daemon runs as somebody else.
func (o *Options) warnUnreadable(starter int, log *slog.Logger) {
	if o.PoolFile == "" || os.Geteuid() == starter {
		return
	}
	f, err := openTrusted(o.PoolFile, starter)
	if err != nil {
		log.Warn("the policy of ports cannot be read again on SIGHUP", "err", forAccount(err))
		return
	}
	f.Close()
}

// forAccount says whose permission is missing for a file.
func forAccount(err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w: the daemon runs as %s, who must be able to read the file and to reach it through every folder", err, userName(uint32(os.Geteuid())))
}

// userName returns a user's name and uid: "alice (1000)".
func userName(uid uint32) string {
	number := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(number); err == nil {
		return u.Username + " (" + number + ")"
	}
	return "user " + number
}
