package dcerpc

import (
	"encoding/binary"
	"slices"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

// Features are what client and server agree upon while they bind. A client
// proposes them in a context of their own, which has the same interface as the
// one before it, in the place of the transfer syntax; the server answers
// [NegotiateAck] with the ones it grants as the reason (MS-RPCE, sections
// 2.2.2.14 and 3.3.1.5.3). Of the mask's 64 bits the first 16 are here, of which
// two have a meaning.
type Features uint16

// The features.
const (
	SecurityContextMultiplexing Features = 1
	KeepConnectionOnOrphan      Features = 2
)

// features is the prefix that marks such a syntax; the mask is the rest of the UUID.
var features = Syntax{UUID: ndr.MustParseUUID("6cb71c2c-9812-4540-0000-000000000000"), Major: 1}

const featuresPrefix = 8

// Features returns the features that s proposes, and false if it is a transfer
// syntax like any other.
func (s Syntax) Features() (Features, bool) {
	if s.Major != features.Major || s.Minor != features.Minor || !slices.Equal(s.UUID[:featuresPrefix], features.UUID[:featuresPrefix]) {
		return 0, false
	}
	return Features(binary.LittleEndian.Uint16(s.UUID[featuresPrefix:])), true
}

// Syntax returns the transfer syntax that proposes f.
func (f Features) Syntax() Syntax {
	s := features
	binary.LittleEndian.PutUint16(s.UUID[featuresPrefix:], uint16(f))
	return s
}
