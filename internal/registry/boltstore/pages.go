package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// The format of bbolt's files, version 2: pages that begin with id, flags, count
// and overflow; pages 0 and 1 describe the last two states of the tree, and the
// other pages are its branches and leaves. Numbers are in the host's byte order.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeader   = 16 // id uint64, flags uint16, count uint16, overflow uint32
	metaSize     = 64 // after the page's header
	elementSize  = 16 // of a leaf: flags, pos, ksize, vsize uint32; of a branch: pos, ksize uint32, page uint64
	bucketHeader = 16 // root page uint64, sequence uint64; without a root page a leaf follows
	leafIsBucket = 1  // the flags of an element that leads to a bucket

	branchPage = 1
	leafPage   = 2
)

// maxFile is the largest file that is read, more than registry.MaxRows need.
const maxFile = 1 << 30

// A reader reads a file of bbolt without bbolt, which is made for files that are
// sound: it follows a branch that leads to itself forever, and looks for free
// pages in a goroutine of its own, whose panic nobody can recover from. The
// reader answers any file with its rows or an error. It reads no page twice, so
// it ends, and does not map the file, which could be cut off under it.
type reader struct {
	file  io.ReaderAt
	pages uint64 // of the file
	root  uint64 // page of the bucket of buckets
	seen  map[uint64]bool
}

// pageSize is what bbolt takes for a new file, and no file outlives a boot.
var pageSize = uint64(os.Getpagesize())

// newReader looks for the last state of the tree in a file of so many bytes.
// Both descriptions have to be right: where the younger is not, the older tells of
// rows that are gone. Each is written at once, so that no end of the
// process leaves it half written.
func newReader(file io.ReaderAt, size int64) (*reader, error) {
	if size < 0 || size > maxFile || uint64(size)%pageSize != 0 || uint64(size) < 4*pageSize {
		return nil, fmt.Errorf("%d bytes are no whole file of bbolt", size)
	}
	d := &reader{file: file, pages: uint64(size) / pageSize, seen: map[uint64]bool{0: true, 1: true}}
	var youngest uint64
	for i := range uint64(2) {
		m := make([]byte, metaSize)
		if _, err := file.ReadAt(m, int64(i*pageSize+pageHeader)); err != nil {
			return nil, err
		}
		sum := fnv.New64a()
		sum.Write(m[:metaSize-8])
		switch {
		case u32(m) != boltMagic || u32(m[4:]) != boltVersion:
			return nil, errors.New("no file of bbolt")
		case u64(m[metaSize-8:]) != sum.Sum64():
			return nil, fmt.Errorf("page %d: the checksum is another", i)
		case uint64(u32(m[8:])) != pageSize:
			return nil, fmt.Errorf("pages of %d bytes, not of %d", u32(m[8:]), pageSize)
		}
		if age := u64(m[48:]); i == 0 || age > youngest { // number of the transaction
			youngest, d.root = age, u64(m[16:])
		}
	}
	return d, nil
}

// An element is what stands under a key in a bucket.
type element struct {
	key, value []byte
	bucket     bool
}

// page returns the page with this id, with its overflow.
func (d *reader) page(id uint64) ([]byte, error) {
	if id >= d.pages || d.seen[id] {
		return nil, fmt.Errorf("page %d: outside of the file, or reached twice", id)
	}
	header := make([]byte, pageHeader)
	if _, err := d.file.ReadAt(header, int64(id*pageSize)); err != nil {
		return nil, err
	}
	n := 1 + uint64(u32(header[12:]))
	if u64(header) != id || n > d.pages-id {
		return nil, fmt.Errorf("page %d: it says that it is page %d of %d", id, u64(header), n)
	}
	for i := range n {
		if d.seen[id+i] {
			return nil, fmt.Errorf("page %d: reached twice", id+i)
		}
		d.seen[id+i] = true
	}
	page := make([]byte, n*pageSize)
	_, err := d.file.ReadAt(page, int64(id*pageSize))
	return page, err
}

// walk tells f of each element of the tree below a page, in the order of keys.
// The element's memory is f's to keep.
func (d *reader) walk(id uint64, f func(element) error) error {
	page, err := d.page(id)
	if err != nil {
		return err
	}
	if u16(page[8:]) == branchPage {
		children, err := elements(page)
		if err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		for _, e := range children {
			if err := d.walk(u64(e[8:]), f); err != nil {
				return err
			}
		}
		return nil
	}
	if err := leaf(page, f); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// bucket tells f of each element of a bucket, the value of the element that leads to it.
func (d *reader) bucket(value []byte, f func(element) error) error {
	if len(value) < bucketHeader {
		return errors.New("a bucket without a root")
	}
	if root := u64(value); root != 0 {
		return d.walk(root, f)
	}
	return leaf(value[bucketHeader:], f)
}

// elements returns the elements of a page, each with what follows it.
func elements(page []byte) ([][]byte, error) {
	if len(page) < pageHeader {
		return nil, errors.New("too short")
	}
	n := int(u16(page[10:]))
	if pageHeader+n*elementSize > len(page) {
		return nil, fmt.Errorf("%d elements in %d bytes", n, len(page))
	}
	all := make([][]byte, n)
	for i := range all {
		all[i] = page[pageHeader+i*elementSize:]
	}
	return all, nil
}

// leaf tells f of each element of a leaf.
func leaf(page []byte, f func(element) error) error {
	all, err := elements(page)
	if err == nil && u16(page[8:]) != leafPage {
		err = fmt.Errorf("%#x is no flag of a leaf", u16(page[8:]))
	}
	if err != nil {
		return err
	}
	for _, e := range all {
		key := uint64(u32(e[4:]))
		value := key + uint64(u32(e[8:]))
		end := value + uint64(u32(e[12:]))
		if end > uint64(len(e)) {
			return fmt.Errorf("an element of %d bytes in %d", end, len(e))
		}
		if err := f(element{e[key:value:value], e[value:end:end], u32(e) == leafIsBucket}); err != nil {
			return err
		}
	}
	return nil
}

func u16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }
func u32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
func u64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }
