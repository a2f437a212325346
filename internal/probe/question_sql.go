package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
)

// askSQLBrowser asks for the instances of a host (MC-SQLR, section 2.2.1).
func askSQLBrowser(ctx context.Context, t *talk) error {
	const everything = 2 // CLNT_BCAST_EX, which is answered when it was sent to one host, too
	answer, err := t.exchange(ctx, []byte{everything}, func(b []byte) bool {
		_, err := parseSQLBrowser(b)
		return err == nil
	})
	if err != nil {
		return err
	}
	instances, err := parseSQLBrowser(answer)
	if err != nil {
		return err
	}
	var text []string
	for _, i := range instances {
		text = append(text, i.String())
	}
	t.What, t.Text = "SQL Server Browser", strings.Join(text, "; ")
	return nil
}

// A sqlInstance is one instance of a host.
type sqlInstance struct{ name, version, tcp, pipe string }

// parseSQLBrowser reads SVR_RESP (MC-SQLR, section 2.2.5): names and values with semicolons between, and two of
// them after each instance.
func parseSQLBrowser(b []byte) ([]sqlInstance, error) {
	const response, maxInstances = 5, 64
	if len(b) < 3 || b[0] != response || int(binary.LittleEndian.Uint16(b[1:])) > len(b)-3 {
		return nil, fmt.Errorf("%w: no list of instances", errAnswer)
	}
	text := string(b[3 : 3+binary.LittleEndian.Uint16(b[1:])])
	var all []sqlInstance
	for row := range strings.SplitSeq(text, ";;") {
		if row == "" || len(all) == maxInstances {
			continue
		}
		var i sqlInstance
		fields := strings.SplitN(row, ";", 64)
		for ; len(fields) >= 2; fields = fields[2:] {
			switch value := fields[1]; strings.ToLower(fields[0]) {
			case "instancename":
				i.name = value
			case "version":
				i.version = value
			case "tcp":
				i.tcp = value
			case "np":
				i.pipe = value
			}
		}
		all = append(all, i)
	}
	return all, nil
}

func (i sqlInstance) String() string {
	s := i.name
	if i.tcp != "" {
		s += " tcp " + i.tcp
	}
	if i.pipe != "" {
		s += " np " + i.pipe
	}
	if i.version != "" {
		s += " version " + i.version
	}
	return s
}
