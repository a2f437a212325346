package xdr

import "encoding/binary"

// AppendUint32 appends an unsigned integer, 4 bytes (RFC 4506, section 4.2).
func AppendUint32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }

// AppendBool appends a boolean, 4 bytes (RFC 4506, section 4.4).
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 0, 0, 0, 1)
	}
	return append(b, 0, 0, 0, 0)
}

// AppendFixed appends fixed-length opaque data and its padding of zeros (RFC 4506, section 4.9).
func AppendFixed(b, p []byte) []byte {
	b = append(b, p...)
	return appendPad(b, len(p))
}

// AppendOpaque appends variable-length opaque data: length, bytes, padding (RFC 4506, section 4.10).
func AppendOpaque(b, p []byte) []byte {
	return AppendFixed(AppendUint32(b, uint32(len(p))), p)
}

// AppendString appends a string: length, bytes, padding (RFC 4506, section 4.11).
func AppendString(b []byte, s string) []byte {
	b = AppendUint32(b, uint32(len(s)))
	b = append(b, s...)
	return appendPad(b, len(s))
}

func appendPad(b []byte, n int) []byte {
	var zero [4]byte
	return append(b, zero[:pad(n)]...)
}
