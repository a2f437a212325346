package auth

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// maxPassword is how many bytes of a file are taken for a password.
const maxPassword = 1024

// PasswordFile returns the [Options.Password] that is the first line of a file.
func PasswordFile(name string) func() ([]byte, error) {
	return func() ([]byte, error) {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("password: %w", err)
		}
		defer f.Close()
		room := make([]byte, maxPassword+2) // with the end of the line
		n, err := io.ReadFull(f, room)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			clear(room)
			return nil, fmt.Errorf("password: %w", err)
		}
		end := n
		if i := bytes.IndexByte(room[:n], '\n'); i >= 0 {
			end = i
		}
		clear(room[end:])
		line := bytes.TrimSuffix(room[:end], []byte("\r"))
		if len(line) > maxPassword {
			clear(room)
			return nil, fmt.Errorf("password: the first line of %s has more than %d bytes", name, maxPassword)
		}
		return line, nil
	}
}
