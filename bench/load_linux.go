package main

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// A load is one way to keep a server busy. It is used once: open, run, close,
// and closed even when it did not open.
type load interface {
	// open does what is not part of the measurement.
	open() error
	// run asks until window has passed and then waits for what is still
	// outstanding. It counts into t; an error means that it could not go on.
	run(window time.Duration, t *tally) error
	close()
}

// A tally is what one run of a load counted.
type tally struct {
	Requests      int // answered, and answered right
	Wrong         int // answers that did not verify
	Lost          int // calls without an answer, after every retransmission or a long wait
	Retransmitted int
	FirstWrong    string `json:",omitempty"`

	Elapsed      time.Duration
	ServerCPU    time.Duration // of all threads of all processes of the server
	GeneratorCPU time.Duration
	P50, P99     time.Duration // 0 where the load does not time single requests
	Longest      time.Duration // likewise; of a lost call the time it was waited for

	Idle    bool          // nothing was asked
	Restart time.Duration // until the server answered again; 0: it was not started again
	Memory  memory        // of the server afterwards; zero where nobody looked
	Once    *expense      `json:",omitempty"` // nil: this was no program that is run once
}

// time takes what requests lasted.
func (t *tally) time(h *histogram) {
	t.P50, t.P99, t.Longest = h.quantile(0.50), h.quantile(0.99), h.longest
}

func (t *tally) wrong(err error) {
	if t.Wrong++; t.FirstWrong == "" {
		t.FirstWrong = err.Error()
	}
}

// err says why the run does not count.
func (t *tally) err() error {
	switch {
	case t.Wrong > 0:
		return fmt.Errorf("%d wrong answers, the first: %s", t.Wrong, t.FirstWrong)
	case t.Requests == 0 && !t.Idle && t.Restart == 0:
		return fmt.Errorf("no request answered")
	}
	return nil
}

func (t *tally) rate() float64 {
	if t.Requests == 0 {
		return 0
	}
	return float64(t.Requests) / t.Elapsed.Seconds()
}

// serverCPU and generatorCPU are in microseconds per request.
func (t *tally) serverCPU() float64    { return t.each(t.ServerCPU) }
func (t *tally) generatorCPU() float64 { return t.each(t.GeneratorCPU) }

func (t *tally) each(spent time.Duration) float64 {
	if t.Requests == 0 {
		return 0
	}
	return micros(spent) / float64(t.Requests)
}

// idleCPU is in per cent of one core.
func (t *tally) idleCPU() float64 {
	if !t.Idle {
		return 0
	}
	return 100 * t.ServerCPU.Seconds() / t.Elapsed.Seconds()
}

// once is the zero value of what is not run once.
func (t *tally) once() expense {
	if t.Once == nil {
		return expense{}
	}
	return *t.Once
}

// ran is how long a program took that is run once, in milliseconds.
func (t *tally) ran() float64 {
	if t.Once == nil {
		return 0
	}
	return millis(t.Elapsed)
}

// String tells what matters of it while others are still to come.
func (t *tally) String() string {
	switch {
	case t.Idle:
		return fmt.Sprintf("%9s %% of a core", threeDigits(t.idleCPU()))
	case t.Once != nil:
		return fmt.Sprintf("%9s ms", threeDigits(t.ran()))
	case t.Restart != 0:
		return fmt.Sprintf("%9s ms", threeDigits(millis(t.Restart)))
	}
	text := fmt.Sprintf("%9s requests/s  server %6s µs  generator %6s µs",
		thousands(int64(t.rate())), threeDigits(t.serverCPU()), threeDigits(t.generatorCPU()))
	if t.Lost > 0 {
		text += fmt.Sprintf("  %d calls lost", t.Lost)
	}
	return text
}

// A clock tells the processor time that each process of a server has spent.
type clock func() (map[int]time.Duration, error)

// measure runs l on a thread of its own and adds the processor time that
// the server, and this process, spent on it.
func measure(l load, window time.Duration, server clock) (*tally, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer l.close()
	if err := l.open(); err != nil {
		return nil, err
	}
	t := new(tally)
	serverBefore, err := server()
	if err != nil {
		return nil, err
	}
	generatorBefore, err := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := l.run(window, t); err != nil {
		return nil, err
	}
	t.Elapsed = time.Since(start)
	generatorAfter, err := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID)
	if err != nil {
		return nil, err
	}
	time.Sleep(5 * time.Millisecond) // the server goes back to sleep
	serverAfter, err := server()
	if err == nil {
		t.ServerCPU, err = spent(serverBefore, serverAfter)
	}
	if err != nil {
		return nil, fmt.Errorf("processor time of the server: %w", err)
	}
	t.GeneratorCPU = generatorAfter - generatorBefore
	return t, nil
}

// spent returns what all processes together spent between two readings of their
// clock. One that came meanwhile began at zero; of one that went nobody knows.
func spent(before, after map[int]time.Duration) (time.Duration, error) {
	var sum time.Duration
	for _, d := range after {
		sum += d
	}
	for pid, d := range before {
		if _, ok := after[pid]; !ok {
			return 0, fmt.Errorf("process %d ended meanwhile", pid)
		}
		sum -= d
	}
	return sum, nil
}

// processClock is the clock of the processor time all threads of a process
// have spent, the ended ones too, in nanoseconds: what clock_getcpuclockid(3)
// returns.
func processClock(pid int) int32 {
	const cpuClockSched = 2
	return int32(^pid<<3 | cpuClockSched)
}

func cpuTime(clock int32) (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, fmt.Errorf("clock_gettime: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// A rowPicker goes over the rows in a random-looking order that is the same
// for every server.
type rowPicker struct {
	state uint32
	rows  int
}

func (p *rowPicker) next() int {
	p.state = p.state*1664525 + 1013904223 // the high bits of it are good enough
	return int(uint64(p.state) * uint64(p.rows) >> 32)
}

// sockaddr returns IPv4 address a for a system call.
func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}
