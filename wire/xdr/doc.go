// Package xdr reads and writes the external data representation of RFC 4506,
// the encoding of ONC RPC: big-endian, every item a multiple of four bytes.
//
// Writing appends to the caller's slice. Reading goes through a [Reader] whose
// first failure sticks, so that a decoder reads its fields top to bottom like
// the specification and checks for errors once.
package xdr
