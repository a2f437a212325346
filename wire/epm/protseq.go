package epm

import "fmt"

// A ProtSeq is a protocol sequence: RPC over a transport (C706, appendix B; MS-RPCE,
// section 2.1). On the wire it is floors of a tower; the zero value is none.
type ProtSeq uint8

// The protocol sequences that are told apart here.
const (
	TCP  ProtSeq = 1 + iota // "ncacn_ip_tcp"
	UDP                     // "ncadg_ip_udp"
	NP                      // "ncacn_np": named pipes of SMB
	LRPC                    // "ncalrpc": within the host
	HTTP                    // "ncacn_http"
)

// ProtSeqs are all protocol sequences.
var ProtSeqs = [...]ProtSeq{TCP, UDP, NP, LRPC, HTTP}

var protSeqNames = [...]string{TCP: "ncacn_ip_tcp", UDP: "ncadg_ip_udp", NP: "ncacn_np", LRPC: "ncalrpc", HTTP: "ncacn_http"}

var protSeqShort = [...]string{TCP: "tcp", UDP: "udp", NP: "np", LRPC: "lrpc", HTTP: "http"}

// String returns the name of C706 and MS-RPCE, as string bindings have it.
func (p ProtSeq) String() string {
	if p == 0 || int(p) >= len(protSeqNames) {
		return fmt.Sprintf("ProtSeq(%d)", uint8(p))
	}
	return protSeqNames[p]
}

// Short returns the word for people: "tcp", "udp", "np", "lrpc", "http".
func (p ProtSeq) Short() string {
	if p == 0 || int(p) >= len(protSeqShort) {
		return p.String()
	}
	return protSeqShort[p]
}

// ParseProtSeq returns the protocol sequence of either name.
func ParseProtSeq(s string) (ProtSeq, bool) {
	for _, p := range ProtSeqs {
		if s == protSeqNames[p] || s == protSeqShort[p] {
			return p, true
		}
	}
	return 0, false
}

// HasPort tells whether endpoints are ports at an IP address, else they are names.
func (p ProtSeq) HasPort() bool { return p == TCP || p == UDP || p == HTTP }
