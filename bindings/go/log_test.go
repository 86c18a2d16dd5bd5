// What a logger is told, and what becomes of a client whose logger misbehaves.

package rsscript_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

// listener is a handler that keeps what it is told, from a level on, and then does something.
type listener struct {
	level slog.Level
	then  func(slog.Record)

	mu      sync.Mutex
	records []slog.Record
}

func (l *listener) Enabled(_ context.Context, level slog.Level) bool { return level >= l.level }

func (l *listener) Handle(_ context.Context, record slog.Record) error {
	l.mu.Lock()
	l.records = append(l.records, record)
	l.mu.Unlock()
	if l.then != nil {
		l.then(record)
	}
	return errors.New("is of no interest")
}

func (l *listener) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *listener) WithGroup(string) slog.Handler      { return l }

func (l *listener) heard() []slog.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]slog.Record(nil), l.records...)
}

// levels are those of what was heard, such as "INFO WARN".
func (l *listener) levels() string {
	var levels []string
	for _, record := range l.heard() {
		levels = append(levels, record.Level.String())
	}
	return strings.Join(levels, " ")
}

func (l *listener) option() rsscript.Option { return rsscript.WithLog(slog.New(l)) }

// disconnect has the server hang up, and the client notice it and connect again.
func disconnect(t testing.TB, server *server, client *rsscript.Client) {
	t.Helper()
	server.mustRaw(t, "CLIENT KILL TYPE normal")
	before := client.Stats().Reconnects
	eventually(t, "it is connected again", func() bool {
		return client.Do(ctx, "PING").Err() == nil && client.Stats().Reconnects > before
	})
}

func TestLog(t *testing.T) {
	server := ownServer(t)
	heard := &listener{level: slog.LevelInfo}
	start := time.Now()
	client := open(t, server.url, heard.option())
	disconnect(t, server, client)
	eventually(t, "a connection, its loss and another one are told of", func() bool {
		return heard.levels() == "INFO WARN INFO"
	})
	before := start
	for i, record := range heard.heard() {
		what := []string{"connected to ", "", "connected to "}[i]
		if !strings.HasPrefix(record.Message, what) || !strings.Contains(record.Message, server.address) {
			t.Fatal(i, record.Message)
		}
		if record.Time.Before(before) || record.Time.After(time.Now()) {
			t.Fatal(record.Time)
		}
		before = record.Time
	}
	// A script that is loaded again is no matter of the connection's.
	script := client.Script("return 1")
	for range 2 {
		check(t, int64(1))(script.Call(ctx, nil).Int64())
		server.mustRaw(t, "SCRIPT FLUSH")
	}
	client.Close()
	if levels := heard.levels(); levels != "INFO WARN INFO" {
		t.Fatal(levels)
	}
}

func TestLogOfFailures(t *testing.T) {
	server := ownServer(t, "--requirepass", "right secret")
	heard := &listener{level: slog.LevelError}
	_, err := rsscript.Open(ctx, server.url, rsscript.WithPassword("wrong secret"), heard.option())
	checkError(t, err, rsscript.ErrAuth)
	eventually(t, "it is told of", func() bool { return heard.levels() == "ERROR" })
	if message := heard.heard()[0].Message; strings.Contains(message, "secret") || message == "" {
		t.Fatal(message)
	}
	// What is beneath the handler's level never gets to it.
	open(t, server.url, rsscript.WithPassword("right secret"), heard.option()).Close()
	if levels := heard.levels(); levels != "ERROR" {
		t.Fatal(levels)
	}
}

func TestLogOfTheLastOption(t *testing.T) {
	first, second := &listener{}, &listener{}
	open(t, url, first.option(), second.option())
	open(t, url, first.option(), rsscript.WithLog(nil))
	eventually(t, "the last one is told", func() bool { return second.levels() == "INFO" })
	if levels := first.levels(); levels != "" {
		t.Fatal(levels)
	}
	// One option may be used for many clients.
	shared := &listener{}
	option := shared.option()
	for range 20 {
		client := open(t, url, option)
		client.Close()
	}
	eventually(t, "all are told of", func() bool { return len(shared.heard()) == 20 })
}

func TestLogThatCallsTheClient(t *testing.T) {
	server := ownServer(t)
	opened := make(chan *rsscript.Client, 1)
	answers := make(chan error, 16)
	heard := &listener{level: slog.LevelWarn, then: func(record slog.Record) {
		client := <-opened
		answers <- client.Script("return 1").Call(ctx, nil).Err()
		_, err := client.ScriptExists(ctx, strings.Repeat("0", 40))
		answers <- err
		answers <- client.Close()
		answers <- client.Do(ctx, "PING").Err()
	}}
	client := open(t, server.url, heard.option())
	disconnect(t, server, client)
	opened <- client
	for range 3 {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	checkError(t, <-answers, rsscript.ErrClosed)
}

func TestLogThatPanicsOrEndsItsGoroutine(t *testing.T) {
	server := ownServer(t)
	for name, end := range map[string]func(slog.Record){
		"panic":    func(slog.Record) { panic("in a handler") },
		"no panic": func(slog.Record) { panic(nil) },
		"Goexit":   func(slog.Record) { runtime.Goexit() },
	} {
		goroutinesGone := noGoroutinesLeft(t)
		heard := &listener{then: end}
		client := open(t, server.url, heard.option())
		disconnect(t, server, client)
		eventually(t, name+": every event is told of", func() bool { return heard.levels() == "INFO WARN INFO" })
		client.Close()
		goroutinesGone()
	}
}

func TestLogThatBlocks(t *testing.T) {
	server := ownServer(t)
	goOn := make(chan struct{})
	heard := &listener{then: func(slog.Record) { <-goOn }}
	client := open(t, server.url, heard.option(),
		rsscript.WithReconnectBackoff(time.Millisecond, time.Millisecond), rsscript.WithReconnectAttempts(400))
	check(t, "PONG")(client.Do(ctx, "PING").Text())
	server.kill()
	eventually(t, "all attempts have failed", func() bool {
		return errors.Is(client.Do(ctx, "PING").Err(), rsscript.ErrConnect)
	})
	client.Close()
	close(goOn)
	var records []slog.Record
	var lost int
	eventually(t, "the last event tells how many were lost", func() bool {
		records = heard.heard()
		if len(records) == 0 {
			return false
		}
		_, err := fmt.Sscanf(records[len(records)-1].Message, "%d more events were lost", &lost)
		return err == nil
	})
	if lost < 100 {
		t.Fatal(lost)
	}
	// Those that wait, the one that the handler had, and the last.
	if len(records) < 256 || len(records) > 258 {
		t.Fatal(len(records), lost)
	}
}

func TestLogAndClientsAreCollected(t *testing.T) {
	const count = 20
	var mu sync.Mutex
	collected := 0
	for range count {
		var client *rsscript.Client
		heard := &listener{then: func(record slog.Record) {
			if record.Message == "" {
				client.Close()
			}
		}}
		runtime.SetFinalizer(heard, func(*listener) {
			mu.Lock()
			collected++
			mu.Unlock()
		})
		var err error
		if client, err = rsscript.Open(ctx, url, heard.option()); err != nil {
			t.Fatal(err)
		}
		client.Close()
	}
	eventually(t, "closed clients and their loggers, which know each other, are collected", func() bool {
		runtime.GC()
		mu.Lock()
		defer mu.Unlock()
		return collected == count
	})
}
