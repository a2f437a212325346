package boltstore

import (
	"errors"
	"os"
	"time"

	"go.etcd.io/bbolt"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// A journal is a locked file, and what bbolt makes of it.
type journal struct {
	file   *os.File
	db     *bbolt.DB                // nil if bbolt does not have the file, or can no longer be used
	sum    uint64                   // of the weights of the rows, if db has them
	stored map[endpoint.ID]struct{} // those rows
}

// create makes the file at path, where there is none, with these rows, and with the
// name of the log that comes after it. After an error the file may be there, and
// close is to be called all the same.
//
// The list of free pages is written with every transaction, which costs about 2 µs:
// without it bbolt would look for free pages in the whole file after each write
// that failed, in a goroutine of its own, whose panic ends the process.
func (j *journal) create(path string, rows []row, boot, log string) error {
	var err error
	j.db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      time.Second, // nobody else has the file yet; zero would wait forever
		NoSync:       true,        // a reboot ends every process that the file speaks of
		NoGrowSync:   true,
		NoStatistics: true,
		OpenFile: func(path string, flag int, mode os.FileMode) (*os.File, error) {
			var err error
			j.file, err = os.OpenFile(path, flag|os.O_EXCL, mode)
			return j.file, err
		},
	})
	if err != nil {
		return err
	}
	tx, err := j.db.Begin(true)
	if err != nil {
		return err
	}
	if err := j.fill(tx, rows, boot, log); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	j.stored = make(map[endpoint.ID]struct{}, len(rows))
	j.keep(rows)
	return nil
}

func (j *journal) fill(tx *bbolt.Tx, rows []row, boot, log string) error {
	meta, err := tx.CreateBucket([]byte(metaBucket))
	if err != nil {
		return err
	}
	for key, value := range map[string]string{formatKey: format, bootKey: boot} {
		if err := meta.Put([]byte(key), []byte(value)); err != nil {
			return err
		}
	}
	if err := nameLog(tx, log); err != nil {
		return err
	}
	if _, err := tx.CreateBucket([]byte(rowsBucket)); err != nil {
		return err
	}
	j.sum, err = apply(tx, 0, rows)
	return err
}

// update makes changes, and gives the log another name, in one transaction: all or,
// with an error, nothing. It does without bbolt's Update, which undoes a transaction that
// panics, and for that reads the pages that have just turned out to be damaged.
//
// What a transaction on a full disk has written to the end of the file is cut off: the
// log needs the room.
func (j *journal) update(changes []change, log string) error {
	before, err := j.file.Stat()
	if err != nil {
		return err
	}
	tx, err := j.db.Begin(true)
	if err != nil {
		return err
	}
	sum, err := apply(tx, j.sum, changes)
	if err == nil {
		err = nameLog(tx, log)
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil { // which has rolled back
		return errors.Join(err, j.file.Truncate(before.Size()))
	}
	j.sum = sum
	j.keep(changes)
	return nil
}

// nameLog says which log comes after the rows.
func nameLog(tx *bbolt.Tx, log string) error {
	w := rowFor([]byte(logKey), []byte(log))
	return tx.Bucket([]byte(metaBucket)).Put(w.key, w.value)
}

// apply makes changes where the rows weigh sum, and returns what they weigh then.
func apply(tx *bbolt.Tx, sum uint64, changes []change) (uint64, error) {
	rows := tx.Bucket([]byte(rowsBucket))
	for _, c := range changes {
		if old := rows.Get(c.key); old != nil {
			sum -= row{c.key, old}.weight()
		}
		var err error
		if c.value == nil {
			err = rows.Delete(c.key)
		} else {
			sum += c.weight()
			err = rows.Put(c.key, c.value)
		}
		if err != nil {
			return 0, err
		}
	}
	return sum, rows.SetSequence(sum)
}

// keep notes the changes that db has now.
func (j *journal) keep(changes []change) {
	for _, c := range changes {
		if c.value == nil {
			delete(j.stored, idOf(c.key))
		} else {
			j.stored[idOf(c.key)] = struct{}{}
		}
	}
}

// close gives the file free, which others may lock then.
func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	var err error
	if j.db != nil {
		err = guard(j.db.Close)
	}
	release(j.file) // in case bbolt did not come to it
	*j = journal{}
	return err
}
