// Processes that end while calls are in flight.

package rsscript_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

// ends are the ways in which a process ends with work in flight; runEnding does so in one of its own, where this
// variable of the environment names the way.
const endVariable, urlVariable = "RSSCRIPT_TEST_END", "RSSCRIPT_TEST_URL"

var ends = map[string]struct {
	end  func(client *rsscript.Client)
	code int
	says string
}{
	"exit":   {func(*rsscript.Client) { os.Exit(7) }, 7, ""},
	"panic":  {func(*rsscript.Client) { panic("at the end") }, 2, "at the end"},
	"signal": {func(*rsscript.Client) { syscall.Kill(os.Getpid(), syscall.SIGTERM); select {} }, -1, ""},
	"exit while it is closed": {func(client *rsscript.Client) {
		go client.Close()
		os.Exit(8)
	}, 8, ""},
	"exit after it was closed": {func(client *rsscript.Client) {
		client.Close()
		os.Exit(9)
	}, 9, ""},
}

// endHere is the process that ends.
func endHere(way string) {
	blocked := slog.New(&listener{then: func(slog.Record) { select {} }})
	client, err := rsscript.Open(ctx, os.Getenv(urlVariable), rsscript.WithLog(blocked))
	if err != nil {
		panic(err)
	}
	const count = 1000
	script := client.Script("return 1")
	cancelled, cancel := context.WithCancel(ctx)
	for i := range count {
		of := ctx
		if i%2 == 0 {
			of = cancelled
		}
		go script.Call(of, nil)
	}
	for client.Stats().InFlight < count {
		time.Sleep(time.Millisecond)
	}
	go cancel()
	ends[way].end(client)
}

func TestProcessesThatEndWithWorkInFlight(t *testing.T) {
	server := ownServer(t)
	server.mustRaw(t, "CLIENT PAUSE 600000 WRITE") // a script may write
	for way, end := range ends {
		for range 3 {
			deadline, cancel := context.WithTimeout(ctx, 2*time.Minute)
			defer cancel()
			command := exec.CommandContext(deadline, os.Args[0])
			command.Env = append(os.Environ(), endVariable+"="+way, urlVariable+"="+server.url)
			output, err := command.CombinedOutput()
			var exited *exec.ExitError
			if !errors.As(err, &exited) || exited.ExitCode() != end.code || !strings.Contains(string(output), end.says) {
				t.Fatalf("%s: %v\n%s", way, err, output)
			}
			if status := exited.Sys().(syscall.WaitStatus); status.Signaled() && (way != "signal" || status.Signal() != syscall.SIGTERM) {
				t.Fatalf("%s: %v\n%s", way, fmt.Sprint(status.Signal()), output)
			}
		}
	}
}
