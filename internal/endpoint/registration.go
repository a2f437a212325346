package endpoint

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// An ID names a registration while it lives: 48 bits, never 0.
type ID uint64

// MaxID is the largest [ID].
const MaxID ID = 1<<48 - 1

// String returns the 12 hexadecimal digits that people see.
func (id ID) String() string { return fmt.Sprintf("%012x", uint64(id)) }

// ParseID reads what [ID.String] writes.
func ParseID(s string) (ID, error) {
	v, err := strconv.ParseUint(s, 16, 48)
	if err != nil || len(s) != 12 || v == 0 {
		return 0, fmt.Errorf("id %q is not 12 hexadecimal digits", s)
	}
	return ID(v), nil
}

// An Owner is on whose word a registration stands: a user of this host, or
// another host.
type Owner struct {
	UID  uint32     // of the process that registered, as the kernel told; NoUID of another host
	Host netip.Addr // that registered over the network; zero: this one
}

// NoUID is the uid that is nobody's.
const NoUID = 1<<32 - 1

// HostOwner returns the owner that another host is. By its IPv4 address that is the
// same one in whatever form a socket tells it.
func HostOwner(a netip.Addr) Owner { return Owner{UID: NoUID, Host: a.Unmap()} }

// Superuser may change every row but the mapper's own.
var Superuser = Owner{UID: 0}

// String returns the owner as rpcbind tells it, "superuser" or the uid in decimal,
// and another host by its address.
func (o Owner) String() string {
	switch {
	case o == Superuser:
		return "superuser"
	case o.Host.IsValid():
		return o.Host.String()
	}
	return strconv.FormatUint(uint64(o.UID), 10)
}

// MayChange tells whether the owner may remove or replace the registration.
func (o Owner) MayChange(r *Registration) bool {
	return !r.Own && (o == Superuser || o == r.Owner)
}

// MaxAnnotation is the most bytes of an annotation; with the NUL that ends it
// in the endpoint mapper's protocol it fills 64 (C706, appendix O).
const MaxAnnotation = 63

// A Registration is one row: this interface listens there, says that owner.
type Registration struct {
	ID ID // given by the registry
	Interface
	Endpoint
	Object     ndr.UUID // of DCE: for calls to which object; the nil UUID: to none or any
	Annotation string   // free text of at most MaxAnnotation printable bytes
	Owner      Owner
	Own        bool      // the mapper's own row, which nobody may change
	Evidence   Evidence  // why it is believed
	PID        int32     // the process that registered or, of Process, that it lives with; 0 if unknown
	Since      time.Time // when it was made
	Until      time.Time // when Waiting or Lease ends; else zero
}

// Validate returns nil for a registration that could be true, or an error that
// says what is wrong with it.
func (r *Registration) Validate() error {
	switch {
	case r.Dialect != ONC && r.Dialect != DCE:
		return fmt.Errorf("unknown dialect %s", r.Dialect)
	case r.Dialect == DCE && r.ProtSeq == 0:
		return errors.New("a DCE interface needs a protocol sequence")
	case r.Dialect == ONC && r.ProtSeq != 0:
		return errors.New("an ONC program has no protocol sequence")
	case r.Dialect == ONC && !r.Object.IsNil():
		return errors.New("an ONC program has no objects")
	}
	if err := ValidText("annotation", r.Annotation); err != nil {
		return err
	}
	return r.Endpoint.Validate()
}

// ValidText returns nil for text that can stand beside a row.
func ValidText(what, s string) error {
	switch {
	case len(s) > MaxAnnotation:
		return fmt.Errorf("%s of %d bytes; at most %d are possible", what, len(s), MaxAnnotation)
	case !printable(s):
		return fmt.Errorf("%s %q is not printable", what, s)
	}
	return nil
}

// A Place has room for one registration: of an ONC program and version on a
// transport, of a DCE interface and object at an endpoint.
type Place struct {
	Interface Interface
	Object    ndr.UUID
	Endpoint  Endpoint // of ONC its NetID only
}

// Place returns the place of the registration.
func (r *Registration) Place() Place {
	if r.Dialect == ONC {
		return ProgramPlace(r.Interface, r.NetID)
	}
	return Place{r.Interface, r.Object, r.Endpoint}
}

// ProgramPlace returns the place of an ONC program and version on a transport.
func ProgramPlace(i Interface, n rpcbind.NetID) Place {
	return Place{Interface: i, Endpoint: Endpoint{NetID: n}}
}

// printable tells whether s is valid text without control or formatting characters.
func printable(s string) bool {
	for _, c := range s {
		if !unicode.IsPrint(c) {
			return false
		}
	}
	return utf8.ValidString(s)
}
