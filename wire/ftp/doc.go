// Package ftp reads and writes the control connection of the File Transfer Protocol: lines, commands, replies
// (RFC 959), and the addresses in them, also those of RFC 2428. It knows the verbs of the extensions
// for security (RFC 2228, RFC 4217), negotiation (RFC 2389), listings (RFC 3659) and others, and nothing of files.
//
// It is strict where peers have been made to read the same bytes in two ways: what it reads, it can write
// again in the one form that all read alike.
package ftp

// Port is where servers wait for control connections (RFC 959, section 8).
const Port = 21

// MaxLine is the most bytes of a line, without its end. The specification sets no limit; paths of
// real systems fit.
const MaxLine = 2048

// MaxVerb is the most letters and digits of a verb. RFC 959 has four; XSHA512 has seven.
const MaxVerb = 8
