package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A log is a sequence of entries:
//
//	length of the payload, CRC-32C up to here, CRC-32C up to the payload's end, payload
//
// Each number has four bytes, big endian. A checksum goes on from the one of the
// entry before, and does not cover checksums: an entry is right only behind those
// behind which it was written. That the length has one of its own tells an
// entry that was never finished from a damaged one that seems to be longer.
//
// The payload of the first entry is logFormat and the log's name. That of each
// other are the changes of one Write, each with key, length of the value, and value;
// without a value the id is forgotten.
const (
	entryHead  = 12
	changeHead = keySize + 4

	logFormat = "quaymaster log 1 "

	// nameSize is how long the first entry is, and more.
	nameSize = 64

	// maxLog is how long a log may be.
	maxLog = 16 << 20
)

// entrySize returns the length of the entry of these changes.
func entrySize(changes []change) int64 {
	size := int64(entryHead)
	for _, c := range changes {
		size += changeHead + int64(len(c.value))
	}
	return size
}

// appendEntry appends the entry of these changes to b. It takes the checksum of the
// entry before and returns the one of this.
func appendEntry(b []byte, sum uint32, changes []change) ([]byte, uint32) {
	begin := len(b)
	b = append(b, make([]byte, entryHead)...)
	for _, c := range changes {
		b = append(b, c.key...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(c.value)))
		b = append(b, c.value...)
	}
	return b, seal(b[begin:], sum)
}

// appendName appends the first entry.
func appendName(b []byte, name string) ([]byte, uint32) {
	begin := len(b)
	b = append(append(append(b, make([]byte, entryHead)...), logFormat...), name...)
	return b, seal(b[begin:], 0)
}

// seal fills in the head of an entry.
func seal(entry []byte, sum uint32) uint32 {
	binary.BigEndian.PutUint32(entry, uint32(len(entry)-entryHead))
	sum = crc32.Update(sum, castagnoli, entry[:4])
	binary.BigEndian.PutUint32(entry[4:], sum)
	sum = crc32.Update(sum, castagnoli, entry[entryHead:])
	binary.BigEndian.PutUint32(entry[8:], sum)
	return sum
}

// unseal returns the payload of the entry that b begins with, and its checksum.
// Without an error there is no payload if b ends within the entry.
func unseal(b []byte, sum uint32) ([]byte, uint32, error) {
	if len(b) < entryHead {
		return nil, 0, nil
	}
	length := uint64(binary.BigEndian.Uint32(b))
	sum = crc32.Update(sum, castagnoli, b[:4])
	switch {
	case binary.BigEndian.Uint32(b[4:]) != sum:
		return nil, 0, errors.New("the length's checksum is another")
	case length == 0 || length > maxLog:
		return nil, 0, fmt.Errorf("an entry of %d bytes", length)
	case length > uint64(len(b)-entryHead):
		return nil, 0, nil
	}
	payload := b[entryHead:][:length:length]
	sum = crc32.Update(sum, castagnoli, payload)
	if binary.BigEndian.Uint32(b[8:]) != sum {
		return nil, 0, errors.New("the checksum is another")
	}
	return payload, sum, nil
}

// readLog returns the changes of a log of this name, in order, and how many bytes
// their entries have. What follows them was never finished: nobody was told that it
// is stored. A log of another name has none: its database is another, or has
// them already.
func readLog(b []byte, name string) ([]change, int64, error) {
	if len(b) > maxLog {
		return nil, 0, errors.New("too long")
	}
	var all []change
	var sum uint32
	for at := 0; ; {
		payload, next, err := unseal(b[at:], sum)
		switch {
		case err != nil:
		case payload == nil:
			return all, int64(at), nil
		case at == 0:
			found, ok := bytes.CutPrefix(payload, []byte(logFormat))
			if !ok {
				err = errors.New("a log of another program")
			} else if name == "" || string(found) != name {
				return nil, 0, nil
			}
		default:
			all, err = appendChanges(all, payload)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("byte %d: %w", at, err)
		}
		at += entryHead + len(payload)
		sum = next
	}
}

// appendChanges appends the changes of a payload. Their memory is the payload's.
func appendChanges(all []change, payload []byte) ([]change, error) {
	for len(payload) > 0 {
		if len(payload) < changeHead {
			return nil, fmt.Errorf("%d bytes are no change", len(payload))
		}
		key, length := payload[:keySize:keySize], uint64(binary.BigEndian.Uint32(payload[keySize:]))
		if payload = payload[changeHead:]; length > uint64(len(payload)) {
			return nil, fmt.Errorf("a value of %d bytes in %d", length, len(payload))
		}
		c := change{key, nil}
		if length > 0 {
			c.value = payload[:length:length]
			if err := c.check(); err != nil {
				return nil, err
			}
		}
		all, payload = append(all, c), payload[length:]
	}
	return all, nil
}
