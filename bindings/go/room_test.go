// Calls beyond the limit of those in flight wait for their turn, and what a context that was ended with a cause says.

package rsscript_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

// full gives a client with two calls in flight, of two, to a server that then stands still until resume is called;
// their results come to the channel.
func full(t testing.TB, server *server) (client *rsscript.Client, resume func(), results chan error) {
	client = open(t, server.url, rsscript.WithMaxInFlight(2), rsscript.WithCallTimeout(time.Hour))
	check(t, "PONG")(client.Do(ctx, "PING").Text())
	resume = server.stopped(t)
	t.Cleanup(resume)
	results = make(chan error, 2)
	for range 2 {
		go func() { results <- client.Do(ctx, "PING").Err() }()
	}
	eventually(t, "two are in flight", func() bool { return client.Stats().InFlight == 2 })
	return client, resume, results
}

func TestAFullQueueWaits(t *testing.T) {
	client, resume, results := full(t, ownServer(t))
	// Who has waited and given up takes nobody's place.
	before := client.Stats().Calls
	late, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	err := checkError(t, client.Do(late, "PING").Err(), rsscript.ErrTimeout)
	if !err.NotExecuted || !errors.Is(err, context.DeadlineExceeded) ||
		!errors.Is(err, os.ErrDeadlineExceeded) || client.Stats().Calls != before {
		t.Fatal(err)
	}
	mine := errors.New("no longer of interest")
	cancelled, cancelWith := context.WithCancelCause(ctx)
	left := make(chan error, 1)
	go func() { left <- client.Do(cancelled, "PING").Err() }()
	cancelWith(mine)
	err = checkError(t, <-left, rsscript.ErrCancelled)
	if !err.NotExecuted || !errors.Is(err, context.Canceled) || !errors.Is(err, mine) {
		t.Fatal(err)
	}

	const count = 100
	waiting := make(chan error, count)
	for range count {
		go func() { waiting <- client.Do(ctx, "PING").Err() }()
	}
	select {
	case err := <-waiting:
		t.Fatal(err)
	case err := <-results:
		t.Fatal(err)
	case <-time.After(10 * time.Millisecond):
	}
	resume()
	for range count {
		noError(t, <-waiting)
	}
	noError(t, <-results)
	noError(t, <-results)
	check(t, "PONG")(client.Do(ctx, "PING").Text())
}

// Without a deadline of its context a call waits no longer than the client lets calls take.
func TestWaitingForATurnEndsAtTheClientsOwnTimeout(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url, rsscript.WithMaxInFlight(1), rsscript.WithCallTimeout(100*time.Millisecond))
	long, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	popped := make(chan error, 1)
	go func() { popped <- client.Do(long, "BLPOP", "list", 0).Err() }()
	eventually(t, "one is in flight", func() bool { return client.Stats().InFlight == 1 })
	err := checkError(t, client.Do(ctx, "PING").Err(), rsscript.ErrTimeout)
	if !err.NotExecuted || !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%+v", err)
	}
	server.mustRaw(t, "RPUSH list value")
	noError(t, <-popped)
	check(t, "PONG")(client.Do(long, "PING").Text())
}

func TestCloseWhileCallsWaitForTheirTurn(t *testing.T) {
	server := ownServer(t)
	goroutinesGone := noGoroutinesLeft(t)
	client, _, results := full(t, server)
	waiting := make(chan error, 100)
	for range 100 {
		go func() { waiting <- client.Do(ctx, "PING").Err() }()
	}
	time.Sleep(time.Millisecond) // So that some wait; it holds for those that do not yet as well.
	noError(t, client.Close())
	for range 100 {
		if err := checkError(t, <-waiting, rsscript.ErrClosed); !err.NotExecuted {
			t.Fatal(err)
		}
	}
	checkError(t, <-results, rsscript.ErrIndeterminate)
	checkError(t, <-results, rsscript.ErrIndeterminate)
	goroutinesGone()
}

// A thousand goroutines pass through a door for three, some of them in no mood to wait; nobody is lost, and no place.
func TestManyWaitAndSomeGiveUp(t *testing.T) {
	client := open(t, url, rsscript.WithMaxInFlight(3))
	var group sync.WaitGroup
	for i := range 1000 {
		group.Add(1)
		go func() {
			defer group.Done()
			hurried, cancel := context.WithTimeout(ctx, time.Duration(i%7)*time.Millisecond)
			defer cancel()
			if i%2 == 0 {
				hurried = ctx
			}
			for range 10 {
				if err := client.Do(hurried, "PING").Err(); err != nil && (i%2 == 0 || !errors.Is(err, context.DeadlineExceeded)) {
					t.Error(err)
				}
			}
		}()
	}
	group.Wait()
	for range 4 {
		check(t, "PONG")(client.Do(ctx, "PING").Text())
	}
}

func TestCauseOfTheContext(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url)
	check(t, "PONG")(client.Do(ctx, "PING").Text())
	resume := server.stopped(t)
	t.Cleanup(resume)
	type reason struct{ error }
	mine := reason{errors.New("the user has left")}
	cancelled, cancel := context.WithCancelCause(ctx)
	result := make(chan error, 1)
	go func() { result <- client.Do(cancelled, "PING").Err() }()
	eventually(t, "it is in flight", func() bool { return client.Stats().InFlight == 1 })
	cancel(mine)
	var own reason
	err := checkError(t, <-result, rsscript.ErrIndeterminate)
	if !errors.Is(err, context.Canceled) || !errors.As(err, &own) || !strings.Contains(err.Error(), "the user has left") {
		t.Fatal(err)
	}
	// A cause that only speaks of a deadline is none.
	expired, cancel := context.WithCancelCause(ctx)
	cancel(context.DeadlineExceeded)
	var timeout net.Error
	if err := checkError(t, client.Do(expired, "PING").Err(), rsscript.ErrCancelled); !errors.As(err, &timeout) ||
		timeout.Timeout() {
		t.Fatal(err)
	}
	late, stop := context.WithTimeoutCause(ctx, 5*time.Millisecond, mine)
	defer stop()
	<-late.Done()
	err = checkError(t, client.Do(late, "PING").Err(), rsscript.ErrTimeout)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &own) ||
		!errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatal(err)
	}
}
