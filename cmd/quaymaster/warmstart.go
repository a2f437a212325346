package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// maxWarmStart is the size in bytes of the largest file of rpcbind's that is read,
// several times what rows as many as we keep need.
const maxWarmStart = 64 << 20

// readWarmStart returns the rows that rpcbind -w left in a folder when it ended,
// oldest first: those of rpcbind.xdr, and of portmap.xdr, which has the IPv4 rows
// once more, what is not there. The mapper's own are left out. UID is the owner
// that rpcbind knew, root's where it knew none.
//
// Rows that cannot be registered here are left out too: rpcbind takes almost
// anything from anybody on the host, and one such row must not keep the others
// from moving. Each has its line in notes, as has what else is lost.
//
// The error is about the files: one of them must be there, and what is there whole.
func readWarmStart(dir string) (rows []endpoint.Document, notes []string, err error) {
	w := warmStart{told: map[endpoint.Place]endpoint.Endpoint{}}
	rpcbFile, mappingFile := filepath.Join(dir, "rpcbind.xdr"), filepath.Join(dir, "portmap.xdr")
	rpcbs, noRPCBs := readWarmFile(rpcbFile, rpcbind.ParseRPCBFile)
	mappings, noMappings := readWarmFile(mappingFile, rpcbind.ParseMappingFile)
	switch none := fs.ErrNotExist; {
	case errors.Is(noRPCBs, none) && errors.Is(noMappings, none):
		return nil, nil, fmt.Errorf("neither %s nor %s is there: rpcbind writes them when it ends, if it runs with -w", rpcbFile, mappingFile)
	case errors.Is(noRPCBs, none):
		w.note("%s is not there: no IPv6, no local sockets and no owners are known", rpcbFile)
	case noRPCBs != nil:
		return nil, nil, noRPCBs
	}
	if noMappings != nil && !errors.Is(noMappings, fs.ErrNotExist) {
		return nil, nil, noMappings
	}
	for i := range rpcbs {
		w.addRPCB(fmt.Sprintf("%s: row %d", rpcbFile, i+1), &rpcbs[i])
	}
	for i := range mappings {
		w.addMapping(fmt.Sprintf("%s: row %d", mappingFile, i+1), &mappings[i])
	}
	return w.rows, w.notes, nil
}

// readWarmFile returns what a file lists. The error wraps [fs.ErrNotExist] if the
// file is not there.
func readWarmFile[T any](path string, parse func([]byte) ([]T, error)) ([]T, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular(): // which could keep us waiting: the folder is not root's
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > maxWarmStart:
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxWarmStart)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	list, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

// A warmStart joins the rows of both files.
type warmStart struct {
	rows  []endpoint.Document
	notes []string
	told  map[endpoint.Place]endpoint.Endpoint // where rows stand; none for one that was left out
}

func (w *warmStart) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

// addRPCB adds a row of rpcbind.xdr; where it stands is for notes. In these its
// text is quoted and cut: it can be anything, and thousands of bytes long.
func (w *warmStart) addRPCB(where string, m *rpcbind.RPCB) {
	if m.Program == rpcbind.Program {
		return
	}
	where = fmt.Sprintf("%s: program %d version %d on %.100q at %.100q", where, m.Program, m.Version, m.NetID, m.Address)
	n, ok := rpcbind.ParseNetID(m.NetID)
	if !ok {
		w.note("%s is left out: the netid is unknown", where)
		return
	}
	reg := endpoint.Registration{Interface: endpoint.Program(m.Program, m.Version)}
	e, err := endpoint.FromUniversalAddress(n, m.Address)
	if err != nil {
		reg.NetID = n
		w.leaveOut(where, &reg, err)
		return
	}
	owner, known := warmOwner(m.Owner)
	reg.Endpoint, reg.Owner = e, owner
	if w.add(where, &reg) && !known {
		w.note("%s becomes root's: its owner %.100q is no user", where, m.Owner)
	}
}

// warmOwner reads what [endpoint.Owner.String] and rpcbind write. What is neither
// becomes root's.
func warmOwner(s string) (_ endpoint.Owner, known bool) {
	uid, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return endpoint.Superuser, s == endpoint.Superuser.String()
	}
	return endpoint.Owner{UID: uint32(uid)}, true
}

// addMapping adds a row of portmap.xdr, unless it says no more than one of
// rpcbind.xdr did: of those that version 2 knows it has the port, and not whose
// they are.
func (w *warmStart) addMapping(where string, m *rpcbind.Mapping) {
	if m.Program == rpcbind.Program {
		return
	}
	where = fmt.Sprintf("%s: program %d version %d, protocol %d, port %d", where, m.Program, m.Version, m.Protocol, m.Port)
	n, ok := rpcbind.NetIDOf(m.Protocol)
	if !ok || m.Port > 65535 {
		w.note("%s is left out: want protocol 6 or 17, and a port to 65535", where)
		return
	}
	reg := endpoint.Registration{Interface: endpoint.Program(m.Program, m.Version)}
	reg.Endpoint = endpoint.Endpoint{NetID: n, Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(m.Port))}
	first, ok := w.told[reg.Place()]
	if ok && (first.NetID == 0 || first.Addr.Port() == reg.Addr.Port()) {
		return
	}
	w.add(where, &reg)
}

// add adds a row, or has a note about what is in its way.
func (w *warmStart) add(where string, reg *endpoint.Registration) (added bool) {
	if err := reg.Validate(); err != nil {
		w.leaveOut(where, reg, err)
		return false
	}
	place := reg.Place()
	switch first := w.told[place]; first {
	case endpoint.Endpoint{}:
		w.told[place] = reg.Endpoint
		w.rows = append(w.rows, reg.Document(""))
		return true
	case reg.Endpoint: // once more
	default:
		w.note("%s is left out: it is at %s already", where, first)
	}
	return false
}

func (w *warmStart) leaveOut(where string, reg *endpoint.Registration, err error) {
	w.note("%s is left out: %.300v", where, err) // which can have the text again
	if place := reg.Place(); w.told[place].NetID == 0 {
		w.told[place] = endpoint.Endpoint{}
	}
}
