package dcerpc

import (
	"fmt"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A Syntax identifies an interface (an abstract syntax) or a representation of
// data (a transfer syntax): p_syntax_id_t (C706, section 12.6.3.1). The zero
// value is the nil syntax.
type Syntax struct {
	UUID         ndr.UUID
	Major, Minor uint16 // of the version, which the wire has as one long: minor in the upper half
}

// Transfer syntaxes.
var (
	// NDR is the one that everybody speaks (C706, appendix I).
	NDR = Syntax{UUID: ndr.MustParseUUID("8a885d04-1ceb-11c9-9fe8-08002b104860"), Major: 2}
	// NDR64 is NDR with counts and referents of 8 bytes (MS-RPCE, section 2.2.5).
	NDR64 = Syntax{UUID: ndr.MustParseUUID("71710533-beba-4937-8319-b5dbef9ccc36"), Major: 1}
)

// String returns the UUID and the version: 12345778-1234-abcd-ef00-0123456789ac 1.0.
func (s Syntax) String() string { return fmt.Sprintf("%s %d.%d", s.UUID, s.Major, s.Minor) }
