package filestore

import (
	"fmt"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
)

const header = `# The permanent registrations of quaymaster. It writes this file anew with every
# change: comments are not kept.
#
# To change it by hand, edit it, then send quaymaster SIGHUP. A row is an endpoint
# of root's. Of ONC: program (a number or a name), version, netid (udp, tcp, udp6,
# tcp6, local), address ('*' for every address of this host; the path of a local
# socket) and port. Of DCE: uuid (or a name), version ('1.0'), protseq (tcp, udp,
# http with address and port; np, lrpc with path), object if there is one. Each can
# have an annotation. Leave id and since out of a new row.

`

// encode returns the text of a file: each row on a line of its own.
func encode(rows []registry.Record) []byte {
	b := []byte(header)
	if len(rows) == 0 {
		return append(b, "[]\n"...)
	}
	for i := range rows {
		b = appendRow(b, &rows[i].Registration)
	}
	return b
}

func appendRow(b []byte, r *endpoint.Registration) []byte {
	what := programName(r.Program)
	if r.Dialect == endpoint.DCE {
		what = catalog.Builtin().InterfaceName(r.UUID, r.Major, r.Minor)
		b = fmt.Appendf(b, "- {uuid: %s, version: '%d.%d', protseq: %s, ", r.UUID, r.Major, r.Minor, r.ProtSeq)
		if !r.Object.IsNil() {
			b = fmt.Appendf(b, "object: %s, ", r.Object)
		}
	} else {
		b = fmt.Appendf(b, "- {program: %d, version: %d, netid: %s, ", r.Program, r.Version, r.NetID)
	}
	switch {
	case r.NetID.IsIPv4():
		b = fmt.Appendf(b, "address: %s, port: %d", r.Addr.Addr(), r.Addr.Port())
	case r.NetID.IsIPv6():
		b = fmt.Appendf(b, "address: %s, port: %d", quote(r.Addr.Addr().String()), r.Addr.Port())
	case r.Dialect == endpoint.DCE:
		b = fmt.Appendf(b, "path: %s", quote(r.Path))
	default:
		b = fmt.Appendf(b, "address: %s", quote(r.Path))
	}
	if r.Annotation != "" {
		b = fmt.Appendf(b, ", annotation: %s", quote(r.Annotation))
	}
	b = fmt.Appendf(b, ", id: %s", quote(r.ID.String()))
	if !r.Since.IsZero() {
		b = fmt.Appendf(b, ", since: %s", r.Since.UTC().Format(time.RFC3339Nano))
	}
	b = append(b, '}')
	if what != "" {
		b = fmt.Appendf(b, " # %s", what)
	}
	return append(b, '\n')
}

func programName(number uint32) string {
	p, _ := catalog.Builtin().Program(number)
	return p.Name
}

// quote returns printable text as YAML, where single quotes keep all but
// themselves as it is.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
