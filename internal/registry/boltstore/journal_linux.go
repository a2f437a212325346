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
	file *os.File
	db   *bbolt.DB // nil if bbolt does not have the file, or can no longer be used
	sum  uint64    // of the weights of the rows, if db has them
}

// create makes the file at path, where there is none, with these rows. After an
// error the file may be there, and close is to be called all the same.
//
// The list of free pages is written with every transaction, which costs about 2 µs:
// without it bbolt would look for free pages in the whole file after each write
// that failed, in a goroutine of its own, whose panic ends the process.
func (j *journal) create(path string, rows []row, boot string) error {
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
	if err := j.fill(tx, rows, boot); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (j *journal) fill(tx *bbolt.Tx, rows []row, boot string) error {
	meta, err := tx.CreateBucket([]byte(metaBucket))
	if err != nil {
		return err
	}
	for key, value := range map[string]string{formatKey: format, bootKey: boot} {
		if err := meta.Put([]byte(key), []byte(value)); err != nil {
			return err
		}
	}
	if _, err := tx.CreateBucket([]byte(rowsBucket)); err != nil {
		return err
	}
	j.sum, err = change(tx, 0, rows, nil)
	return err
}

// update makes changes in one transaction: all or, with an error, none. It does
// without bbolt's Update, which undoes a transaction that panics, and for that
// reads the pages that have just turned out to be damaged.
func (j *journal) update(put []row, gone []endpoint.ID) error {
	tx, err := j.db.Begin(true)
	if err != nil {
		return err
	}
	sum, err := change(tx, j.sum, put, gone)
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil { // which has rolled back
		return err
	}
	j.sum = sum
	return nil
}

// change puts rows and deletes others where the rows weigh sum, and returns what
// they weigh then.
func change(tx *bbolt.Tx, sum uint64, put []row, gone []endpoint.ID) (uint64, error) {
	rows := tx.Bucket([]byte(rowsBucket))
	lift := func(key []byte) {
		if old := rows.Get(key); old != nil {
			sum -= row{key, old}.weight()
		}
	}
	for _, id := range gone {
		if id > endpoint.MaxID {
			continue // its key would be another id's
		}
		key := keyOf(id)
		lift(key)
		if err := rows.Delete(key); err != nil {
			return 0, err
		}
	}
	for _, w := range put {
		lift(w.key)
		sum += w.weight()
		if err := rows.Put(w.key, w.value); err != nil {
			return 0, err
		}
	}
	return sum, rows.SetSequence(sum)
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
