package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/launch"
	"github.com/quaymaster/quaymaster/internal/show"
)

// passed are the signals that run passes on. Those that stop it are not among them: they
// come from a terminal, which sends them to its whole foreground group.
var passed = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGCONT, syscall.SIGWINCH,
}

func (f *runFlags) run(cmd *cobra.Command) (status int, err error) {
	client, path, err := f.client()
	if err != nil {
		return launch.ExitFailed, err
	}
	signals := make(chan os.Signal, 64)
	for _, s := range passed {
		if !signal.Ignored(s) { // as nohup(1) has it, also for the program
			signal.Notify(signals, s)
		}
	}
	f.job.Env = os.Environ()
	f.job.Daemon, f.job.Explain = client, func(err error) error { return f.explain(path, err) }
	f.job.Signals = signals
	f.job.Say = func(text string) { printLines(cmd, text) }
	f.job.Listening = func(int, []endpoint.Document) {}
	if show.NewScreen(os.Stderr, show.ColorNever, "").Terminal {
		f.job.Listening = func(pid int, standing []endpoint.Document) {
			printLines(cmd, listens(filepath.Base(f.job.Command[0]), pid, standing))
		}
	}
	return launch.Run(&f.job)
}
