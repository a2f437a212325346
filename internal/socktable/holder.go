package socktable

import "fmt"

// A Process is a program that runs.
type Process struct {
	PID  int
	Name string // the first 15 bytes of the program's name, as the kernel keeps it
}

func (p Process) String() string { return fmt.Sprintf("%s (pid %d)", p.Name, p.PID) }
