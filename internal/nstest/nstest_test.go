package nstest

import (
	"testing"
	"time"
)

func TestNeedPackages(t *testing.T) {
	for program, pkg := range debianPackage {
		if program == "" || pkg == "" {
			t.Errorf("debianPackage has the row %q: %q", program, pkg)
		}
	}
}

func TestWaitFor(t *testing.T) {
	calls := 0
	WaitFor(t, "the third call", time.Minute, func() bool { calls++; return calls == 3 })
	if calls != 3 {
		t.Errorf("WaitFor asked %d times, want 3", calls)
	}
	asked := false
	WaitFor(t, "a condition that holds when the time is over", -time.Second, func() bool { asked = true; return true })
	if !asked {
		t.Error("WaitFor did not ask after the time was over")
	}
}
