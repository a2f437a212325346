package probe

import (
	"encoding/asn1"
	"fmt"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// Questions in BER (X.690) are written by package asn1. Answers are read by package ber, as package asn1 refuses lengths
// that are longer than need be, which Active Directory and Net-SNMP write.

// maxBER is the most bytes of a conversation in BER that are read. The library keeps what an element holds once for each
// element around it, of up to a thousand: this many bytes cost up to 8 MiB, while maxGreeting would cost 500.
const maxBER = 8 << 10

// der returns the encoding of a question of ours.
func der(question any, params string) []byte {
	b, err := asn1.MarshalWithParams(question, params)
	if err != nil {
		panic(err) // ours are valid
	}
	return b
}

// parseBER reads the message that a datagram begins with, which is a sequence.
func parseBER(b []byte) (*ber.Packet, error) {
	if len(b) > maxBER {
		return nil, fmt.Errorf("%w: %d bytes", errEnd, len(b))
	}
	p, err := ber.DecodePacketErr(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errAnswer, err)
	}
	if !isElement(p, ber.ClassUniversal, ber.TagSequence) {
		return nil, fmt.Errorf("%w: it begins with %#x", errAnswer, b[0])
	}
	return p, nil
}

// within returns the element within another that stands there: the path 1, 0 is the first of the second. nil: there is none.
func within(p *ber.Packet, path ...int) *ber.Packet {
	for _, i := range path {
		if p == nil || i >= len(p.Children) {
			return nil
		}
		p = p.Children[i]
	}
	return p
}

// valueWithin returns the value of the element within another that stands there; ok is false if it is of another type.
func valueWithin[T int64 | string](p *ber.Packet, path ...int) (v T, ok bool) {
	if p = within(p, path...); p != nil {
		v, ok = p.Value.(T)
	}
	return v, ok
}

// isElement tells whether an element is there and of a class and tag.
func isElement(p *ber.Packet, class ber.Class, tag ber.Tag) bool {
	return p != nil && p.ClassType == class && p.Tag == tag
}
