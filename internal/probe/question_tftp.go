package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// tftpName is a file that no server has.
const tftpName = "quaymaster-asks-for-no-file"

// A tftpAnswer is what came of a question of TFTP.
type tftpAnswer struct {
	message []byte
	err     error
}

// askTFTP asks for a file that is not there (RFC 1350). The answer comes from another port than the one
// that was asked (section 4), which a connected socket does not hear; but an unconnected one does not
// hear of refusals. So both ask.
func askTFTP(ctx context.Context, t *talk) error {
	question := append(binary.BigEndian.AppendUint16(nil, 1), tftpName+"\x00octet\x00"...)
	ours, ok := t.conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return fmt.Errorf("%v is no address of UDP", t.conn.LocalAddr())
	}
	open, err := net.ListenUDP("udp", &net.UDPAddr{IP: ours.IP, Zone: ours.Zone})
	if err != nil {
		return err
	}
	answers := make(chan tftpAnswer, 2)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer t.conn.Close()
	defer open.Close()
	readers.Go(func() {
		buf := make([]byte, maxDatagram)
		n, err := t.conn.Read(buf)
		answers <- tftpAnswer{buf[:n], err}
	})
	readers.Go(func() {
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := open.ReadFromUDPAddrPort(buf)
			if err != nil {
				return // it was closed
			}
			if from.Addr().Unmap() == t.to.Addr().Unmap() {
				answers <- tftpAnswer{buf[:n], nil}
				return
			}
		}
	})
	wait := t.p.timeout() / time.Duration(1<<(t.p.retries()+1)-1) // as Prober.exchange has it
	for range t.p.retries() + 1 {
		if _, err := t.conn.Write(question); err != nil {
			return err
		}
		if _, err := open.WriteToUDPAddrPort(question, t.to); err != nil {
			return err
		}
		select {
		case a := <-answers:
			if a.err != nil {
				return a.err
			}
			t.heard()
			return t.readTFTP(a.message)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
			wait *= 2
		}
	}
	return os.ErrDeadlineExceeded
}

// readTFTP says what an answer says.
func (t *talk) readTFTP(b []byte) error {
	text, err := parseTFTP(b)
	if err == nil {
		t.What, t.Text = "TFTP", text
	}
	return err
}

// parseTFTP reads an error, or what a server sends that has every file.
func parseTFTP(b []byte) (string, error) {
	if len(b) < 4 || b[0] != 0 {
		return "", errAnswer
	}
	switch b[1] {
	case 3, 6: // DATA; OACK
		return "has a file of any name", nil
	case 5: // ERROR
		text, _, _ := strings.Cut(string(b[4:]), "\x00")
		return fmt.Sprintf("error %d: %s", binary.BigEndian.Uint16(b[2:]), text), nil
	}
	return "", errAnswer
}
