// Who polls: a caller that is alone, or the reader. Every call is answered whoever does, and nobody is left without.

package rsscript_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

// alone makes so many calls one by one that callers poll by themselves.
func alone(t testing.TB, client *rsscript.Client) {
	t.Helper()
	for range 50 {
		check(t, "PONG")(client.Do(ctx, "PING").Text())
	}
}

func TestAloneAndTogetherInTurn(t *testing.T) {
	client := open(t, url)
	script := client.Script("return ARGV[1]")
	for round := range 200 {
		alone(t, client)
		var group sync.WaitGroup
		for caller := range round % 7 {
			group.Add(1)
			go func() {
				defer group.Done()
				for i := range 1 + round%5 {
					want := fmt.Sprint(round, caller, i)
					check(t, want)(script.Call(ctx, nil, want).Text())
				}
			}()
		}
		group.Wait()
		if round%20 == 0 {
			time.Sleep(20 * time.Millisecond) // the reader takes over; any time will do
		}
	}
}

// What gathers while one batch is sent goes with the next, be it a few calls or many, and so often that no caller may
// send them all.
func TestNoCallIsLeftInAnOpenBatch(t *testing.T) {
	client := open(t, url)
	script := client.Script("return ARGV[1]")
	for callers := 2; callers <= 12; callers++ {
		var group sync.WaitGroup
		for caller := range callers {
			group.Add(1)
			go func() {
				defer group.Done()
				for i := range 500 {
					want := fmt.Sprint(caller, i)
					check(t, want)(script.Call(ctx, nil, want).Text())
				}
			}()
		}
		group.Wait()
	}
}

func TestACallerThatPolledLeavesAnotherBehind(t *testing.T) {
	client, other := open(t, url), open(t, url)
	for i := range 20 {
		alone(t, client)
		key, hold := fmt.Sprint(keyOf(t), i), fmt.Sprint(keyOf(t), "hold", i)
		first := make(chan error, 1)
		go func() { first <- client.Do(ctx, "BLPOP", hold, 0).Err() }()
		second := make(chan error, 1)
		go func() { second <- client.Do(ctx, "BLPOP", key, 0).Err() }()
		eventually(t, "both are in flight", func() bool { return client.Stats().InFlight >= 2 })
		if err := other.Do(ctx, "RPUSH", hold, "x").Err(); err != nil {
			t.Fatal(err)
		}
		if err := <-first; err != nil {
			t.Fatal(err)
		}
		if err := other.Do(ctx, "RPUSH", key, "x").Err(); err != nil {
			t.Fatal(err)
		}
		if err := <-second; err != nil {
			t.Fatal(err)
		}
	}
}

func TestAloneForLong(t *testing.T) {
	client, other := open(t, url), open(t, url)
	alone(t, client)
	key := keyOf(t)
	answered := make(chan error, 1)
	go func() { answered <- client.Do(ctx, "BLPOP", key, 0).Err() }()
	eventually(t, "it is in flight", func() bool { return client.Stats().InFlight == 1 })
	time.Sleep(30 * time.Millisecond) // the reader takes over; any time will do
	if err := other.Do(ctx, "RPUSH", key, "x").Err(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	alone(t, client)
	// Its time ends, before and after the reader has taken over.
	for _, within := range []time.Duration{2 * time.Millisecond, 50 * time.Millisecond} {
		deadline, cancel := context.WithTimeout(ctx, within)
		err := client.Do(deadline, "BLPOP", key, 0).Err()
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		alone(t, client)
	}
	for _, after := range []time.Duration{0, time.Millisecond, 50 * time.Millisecond} {
		cancelled, cancel := context.WithCancel(ctx)
		timer := time.AfterFunc(after, cancel)
		err := client.Do(cancelled, "BLPOP", key, 0).Err()
		timer.Stop()
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		alone(t, client)
	}
}

// A long reply comes in parts, and Go's poller tells of those once each.
func TestLongRepliesWhoeverPolls(t *testing.T) {
	client := open(t, url)
	long := strings.Repeat("long", 1<<19)
	script := client.Script("return ARGV[1] .. ARGV[1]")
	for range 3 {
		alone(t, client)
		check(t, long+long)(script.Call(ctx, nil, long).Text())
		var group sync.WaitGroup
		for range 4 {
			group.Add(1)
			go func() {
				defer group.Done()
				check(t, long+long)(script.Call(ctx, nil, long).Text())
			}()
		}
		group.Wait()
	}
}

func TestConnectionLostWhileNobodyCalls(t *testing.T) {
	server := ownServer(t)
	client, other := open(t, server.url), open(t, server.url)
	for range 20 {
		alone(t, client)
		if err := other.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond) // the next caller looks first, or the reader has seen it; any time will do
		var lost *rsscript.Error
		err := client.Do(ctx, "PING").Err()
		if err != nil && (!errors.As(err, &lost) || lost.Indeterminate == lost.NotExecuted) {
			t.Fatal(err)
		}
	}
}
