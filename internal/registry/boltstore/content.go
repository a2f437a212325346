// Package boltstore keeps the registry in a file of bbolt's, and the latest changes
// in a log beside it, for as long as the host runs: a [registry.Store] in which a
// daemon that was killed finds its rows again, and which goes on without them when
// a file is damaged.
package boltstore

import (
	"errors"
	"fmt"
	"io"
)

// A database has two buckets. One tells the format, the boot, and the name of the
// log whose changes come after it; the rows are in the other, whose sequence number
// is the sum of their weights.
const (
	metaBucket = "meta"
	rowsBucket = "rows"

	formatKey = "format"
	bootKey   = "boot"
	logKey    = "log" // with the checksum of a row, since another name leaves a log unread

	// format changes when what is there already means something else. A kind of row
	// more leaves it: a program that knows no grants refuses the row of one, and
	// reads the files that have none.
	format = "1"
)

// errOtherBoot says that a file tells of processes of another boot, which have ended.
var errOtherBoot = errors.New("of another boot")

// readRows returns the rows of a database of so many bytes, all as they were last
// written or, with an error, none, and the name of its log. A file of no bytes has
// no rows and no log.
func readRows(file io.ReaderAt, size int64, boot string) ([]row, string, error) {
	if size == 0 {
		return nil, "", nil
	}
	d, err := newReader(file, size)
	if err != nil {
		return nil, "", err
	}
	buckets := map[string][]byte{}
	if err := d.walk(d.root, func(e element) error {
		if e.bucket {
			buckets[string(e.key)] = e.value
		}
		return nil
	}); err != nil {
		return nil, "", err
	}
	for _, name := range []string{metaBucket, rowsBucket} {
		if buckets[name] == nil {
			return nil, "", fmt.Errorf("no bucket %s: a file of another program", name)
		}
	}
	meta := map[string]string{}
	if err := d.bucket(buckets[metaBucket], func(e element) error {
		meta[string(e.key)] = string(e.value)
		return nil
	}); err != nil {
		return nil, "", fmt.Errorf("bucket %s: %w", metaBucket, err)
	}
	switch {
	case meta[formatKey] != format:
		return nil, "", fmt.Errorf("format %q: this program knows %q", meta[formatKey], format)
	case meta[bootKey] != boot:
		return nil, "", errOtherBoot
	}
	log := row{[]byte(logKey), []byte(meta[logKey])}
	if len(log.value) <= crcSize || !log.sound() {
		return nil, "", errors.New("the name of the log is another")
	}
	var rows []row
	var sum uint64
	if err := d.bucket(buckets[rowsBucket], func(e element) error {
		r := row{e.key, e.value}
		if err := r.check(); err != nil {
			return err
		}
		rows = append(rows, r)
		sum += r.weight()
		return nil
	}); err != nil {
		return nil, "", fmt.Errorf("bucket %s: %w", rowsBucket, err)
	}
	if sum != u64(buckets[rowsBucket][8:]) {
		return nil, "", fmt.Errorf("bucket %s: rows are missing, or older than the rest", rowsBucket)
	}
	return rows, string(log.value[crcSize:]), nil
}
