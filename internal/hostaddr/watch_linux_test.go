package hostaddr_test

import (
	"context"
	"log/slog"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/hostaddr"
	"github.com/quaymaster/quaymaster/internal/nstest"
)

const patience = 20 * time.Second

func ip(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.Command(nstest.Path(t, "ip"), strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
}

// TestWatch changes addresses and interfaces and waits for the table to follow.
func TestWatch(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Veth(t, "eth0", "10.99.0.1/24")
	var table hostaddr.Table
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready := make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- table.Watch(ctx, slog.New(slog.DiscardHandler), func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("Watch = %v before it was ready", err)
	}
	first := table.All()
	if len(first) < 3 || first[0] != (loopback("127.0.0.1/8")) || !has(&table, "10.99.0.1/24") || !has(&table, "::1/128") {
		t.Fatalf("when ready the table holds %v", first)
	}

	for _, tt := range []struct {
		do     string
		prefix string
		there  bool
	}{
		{"address add 10.99.0.2/24 dev eth0", "10.99.0.2/24", true},
		{"address add fd99::1/64 dev eth0 nodad", "fd99::1/64", true},
		{"address del 10.99.0.2/24 dev eth0", "10.99.0.2/24", false},
		{"link set eth0 down", "10.99.0.1/24", false},
		{"link set eth0 up", "10.99.0.1/24", true},
		{"link add dummy0 type veth peer name dummy1", "10.98.0.1/24", false},
		{"address add 10.98.0.1/24 dev dummy0", "10.98.0.1/24", false}, // it is down
		{"link set dummy0 up", "10.98.0.1/24", true},
		{"link del dummy0", "10.98.0.1/24", false},
	} {
		ip(t, tt.do)
		nstest.WaitFor(t, "the table to follow: ip "+tt.do, patience, func() bool { return has(&table, tt.prefix) == tt.there })
	}
	hint := netip.MustParseAddr("10.99.0.7")
	if got, ok := table.Toward(hint); !ok || got != netip.MustParseAddr("10.99.0.1") {
		t.Errorf("Toward(%s) = %v, %v, want 10.99.0.1", hint, got, ok)
	}

	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Watch of a cancelled context = %v, want nil", err)
	}
}

func has(table *hostaddr.Table, prefix string) bool {
	return slices.ContainsFunc(table.All(), func(a hostaddr.Address) bool { return a.Prefix.String() == prefix })
}

// TestBurst makes more changes than are read one by one.
func TestBurst(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Veth(t, "eth0", "10.99.0.1/24")
	var table hostaddr.Table
	ready := make(chan struct{})
	go table.Watch(t.Context(), slog.New(slog.DiscardHandler), func() { close(ready) })
	<-ready
	var batch strings.Builder
	for i := range 200 {
		batch.WriteString("address add 10.99.1." + string(rune('0'+i%10)) + "/32 dev eth0\n")
		batch.WriteString("address del 10.99.1." + string(rune('0'+i%10)) + "/32 dev eth0\n")
	}
	batch.WriteString("address add 10.99.2.1/32 dev eth0\n")
	cmd := exec.Command(nstest.Path(t, "ip"), "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip -batch: %v\n%s", err, out)
	}
	nstest.WaitFor(t, "the last address, and none of the others", patience, func() bool {
		for _, a := range table.All() {
			if strings.HasPrefix(a.Prefix.String(), "10.99.1.") {
				return false
			}
		}
		return has(&table, "10.99.2.1/32")
	})
}
