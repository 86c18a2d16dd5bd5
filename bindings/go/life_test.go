// Deadlines, cancellation, closing, lost servers, many goroutines: every call ends, and nothing is left behind.

package rsscript_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

// paused has the server answer nothing any more.
func paused(t testing.TB, client *rsscript.Client) {
	t.Helper()
	check(t, "OK")(client.Do(ctx, "CLIENT", "PAUSE", 600000, "ALL").Text())
}

// soon is a deadline before which a call has been sent, unless the machine is very busy.
const soon = 500 * time.Millisecond

// missed makes a call that is sent and not answered by its deadline, and a later one where it was not sent in time.
// It gives the context that has ended.
func missed(t testing.TB, call func(context.Context) error) context.Context {
	t.Helper()
	for within := soon; ; within *= 4 {
		deadline, cancel := context.WithTimeout(ctx, within)
		t.Cleanup(cancel)
		start := time.Now()
		err := call(deadline)
		if errors.Is(err, rsscript.ErrTimeout) && within < time.Minute {
			continue
		}
		own := checkError(t, err, rsscript.ErrIndeterminate)
		if !errors.Is(err, context.DeadlineExceeded) || !own.Indeterminate || own.NotExecuted {
			t.Fatalf("%+v", own)
		}
		if took := time.Since(start); took < within-time.Millisecond || took > within+30*time.Second {
			t.Fatal(took)
		}
		return deadline
	}
}

// reticent does not say when its deadline is.
type reticent struct{ context.Context }

func (reticent) Deadline() (time.Time, bool) { return time.Time{}, false }

func TestContextThatDoesNotTellItsDeadline(t *testing.T) {
	client := open(t, ownServer(t).url, rsscript.WithCallTimeout(10*time.Second))
	within, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	err := checkError(t, client.Do(reticent{within}, "BLPOP", "none", 0).Err(), rsscript.ErrIndeterminate)
	if err.Reason != rsscript.ReasonCancelled || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%+v", err)
	}
}

// hasty has another clock: its time is over when `over` is closed.
type hasty struct {
	context.Context
	over chan struct{}
}

func (h hasty) Done() <-chan struct{} { return h.over }

func (h hasty) Err() error {
	select {
	case <-h.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// A context is over when it says so, whatever it has told of its deadline.
func TestContextThatEndsBeforeItsDeadline(t *testing.T) {
	client := open(t, ownServer(t).url)
	over := hasty{ctx, make(chan struct{})}
	within, cancel := context.WithTimeout(over, time.Hour)
	defer cancel()
	time.AfterFunc(50*time.Millisecond, func() { close(over.over) })
	err := client.Do(within, "BLPOP", "none", 0).Err()
	if own := checkError(t, err, rsscript.ErrIndeterminate); !errors.Is(own, context.DeadlineExceeded) {
		t.Fatalf("%+v", own)
	}
}

func TestDeadline(t *testing.T) {
	server := ownServer(t)
	// Several deadlines in a row, on one connection.
	client := open(t, server.url, rsscript.WithSilenceTimeout(time.Minute))
	paused(t, client)
	call := func(ctx context.Context) error { return client.Script("return 1").Call(ctx, nil).Err() }
	err := checkError(t, call(missed(t, call)), rsscript.ErrTimeout)
	if !errors.Is(err, context.DeadlineExceeded) || err.Indeterminate || !err.NotExecuted {
		t.Fatalf("%+v", err)
	}
	missed(t, func(ctx context.Context) error {
		_, err := client.Pipeline().Do("PING").Exec(ctx)
		return err
	})
	missed(t, func(ctx context.Context) error { return client.ScriptFlush(ctx, rsscript.FlushSync) })
}

func TestClientsOwnTimeout(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url, rsscript.WithCallTimeout(soon))
	paused(t, client)
	err := checkError(t, client.Do(ctx, "PING").Err(), rsscript.ErrIndeterminate)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	var timeout net.Error
	if !errors.As(error(err), &timeout) || !timeout.Timeout() ||
		!errors.Is(err, os.ErrDeadlineExceeded) || err.Reason != rsscript.ReasonDeadline {
		t.Fatalf("%+v", err)
	}
	if err.Node == "" || err.Index != -1 {
		t.Fatalf("%+v", err)
	}
}

func TestLostConnectionIsNoTimeout(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url)
	paused(t, client)
	deadline, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	result := make(chan error)
	go func() { result <- client.Do(deadline, "INCR", "n").Err() }()
	go func() {
		_, err := client.Pipeline().Do("INCR", "n").Do("PING").Exec(deadline)
		result <- err
	}()
	eventually(t, "both are sent", func() bool { return client.Stats().InFlight == 2 })
	server.kill()
	for range 2 {
		err := checkError(t, <-result, rsscript.ErrIndeterminate)
		if err.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) ||
			errors.Is(err, context.DeadlineExceeded) || err.Reason != rsscript.ReasonConnectionLost {
			t.Fatalf("%+v", err)
		}
	}
}

func TestDeadlineBeforeAnythingIsSent(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url, rsscript.WithReconnectAttempts(0))
	check(t, "PONG")(client.Do(ctx, "PING").Text())
	server.kill()
	deadline, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	eventually(t, "the loss is noticed", func() bool {
		return !errors.Is(client.Do(deadline, "PING").Err(), rsscript.ErrIndeterminate)
	})
	deadline, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	err := client.Do(deadline, "PING").Err()
	var own *rsscript.Error
	if !errors.As(err, &own) || !own.NotExecuted ||
		own.Status != rsscript.ErrConnect && own.Status != rsscript.ErrTimeout {
		t.Fatal(err)
	}
}

func TestCancelBefore(t *testing.T) {
	client := open(t, url)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	before := client.Stats().Calls
	err := checkError(t, client.Script("return 1").Call(ended, nil).Err(), rsscript.ErrCancelled)
	if !errors.Is(err, context.Canceled) || !err.NotExecuted {
		t.Fatal(err)
	}
	_, failure := client.Transaction().Do("PING").Exec(ended)
	checkError(t, failure, rsscript.ErrCancelled)
	checkError(t, client.ScriptFlush(ended, rsscript.FlushSync), rsscript.ErrCancelled)
	_, failure = rsscript.Open(ended, url)
	checkError(t, failure, rsscript.ErrCancelled)
	if client.Stats().Calls != before {
		t.Fatal("something was sent")
	}
}

// checkCancelled checks the error of a call whose context was cancelled when it was under way.
func checkCancelled(t testing.TB, err error) *rsscript.Error {
	t.Helper()
	var own *rsscript.Error
	if !errors.Is(err, context.Canceled) || !errors.As(err, &own) || own.Indeterminate == own.NotExecuted ||
		own.Status != rsscript.ErrCancelled && own.Status != rsscript.ErrIndeterminate {
		t.Fatalf("%+v", err)
	}
	return own
}

func TestCancelWhileBatched(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url)
	check(t, "PONG")(client.Do(ctx, "PING").Text())
	cancelled, cancel := context.WithCancel(ctx)
	results := [2]chan error{make(chan error, 50), make(chan error, 50)}
	resume := server.stopped(t)
	send := client.HoldBatch()
	for range 50 {
		go func() { results[0] <- client.Do(cancelled, "PING").Err() }()
		go func() { results[1] <- client.Do(ctx, "PING").Err() }()
	}
	eventually(t, "all are batched", func() bool { calls, _ := client.Batched(); return calls == 100 })
	cancel()
	eventually(t, "half of them are to be called off", func() bool {
		_, callOff := client.Batched()
		return callOff == 50
	})
	select {
	case err := <-results[0]:
		t.Fatal("a call ended, and its place in the batch is still there:", err)
	default:
	}
	send()
	for range 50 {
		checkCancelled(t, <-results[0])
	}
	resume()
	for range 50 {
		if err := <-results[1]; err != nil {
			t.Fatal(err)
		}
	}
	check(t, "PONG")(client.Do(ctx, "PING").Text())
}

func TestCancelInFlight(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url)
	script := client.Script("return 1")
	check(t, "PONG")(client.Do(ctx, "PING").Text())
	resume := server.stopped(t)
	goroutinesGone := noGoroutinesLeft(t)
	for name, call := range map[string]func(context.Context) error{
		"Do":     func(ctx context.Context) error { return client.Do(ctx, "PING").Err() },
		"Call":   func(ctx context.Context) error { return script.Call(ctx, nil).Err() },
		"CallRO": func(ctx context.Context) error { return script.CallRO(ctx, nil).Err() },
		"Pipeline": func(ctx context.Context) error {
			_, err := client.Pipeline().Do("PING").Call(script, nil).Exec(ctx)
			return err
		},
		"Transaction":  func(ctx context.Context) error { _, err := client.Transaction().Do("PING").Exec(ctx); return err },
		"ScriptLoad":   func(ctx context.Context) error { return client.ScriptLoad(ctx, script) },
		"ScriptFlush":  func(ctx context.Context) error { return client.ScriptFlush(ctx, rsscript.FlushSync) },
		"ScriptShow":   func(ctx context.Context) error { _, err := client.ScriptShow(ctx, script.SHA()); return err },
		"ScriptExists": func(ctx context.Context) error { _, err := client.ScriptExists(ctx, script.SHA()); return err },
	} {
		// More calls that administer scripts than the library has threads for would not be in flight, but wait in line.
		for range 3 {
			cancelled, cancel := context.WithCancel(ctx)
			before := client.Stats().InFlight
			result := make(chan error, 1)
			go func() { result <- call(cancelled) }()
			eventually(t, name+" is in flight", func() bool { return client.Stats().InFlight > before })
			cancel()
			if err := checkCancelled(t, <-result); !err.Indeterminate {
				t.Fatal(name, err)
			}
		}
	}
	resume()
	goroutinesGone()
}

func TestAdministrationOfAHungServerHoldsUpNobody(t *testing.T) {
	server := ownServer(t)
	client, other := open(t, server.url), open(t, url)
	script := client.Script("return 'of a hung server'")
	check(t, "PONG")(client.Do(ctx, "PING").Text())
	before := threads(t)
	resume := server.stopped(t)
	cancelled, cancel := context.WithCancel(ctx)
	const count = 1000
	results := make(chan error, count)
	for range count {
		go func() { results <- client.ScriptLoad(cancelled, script) }()
	}
	for range 10 {
		if err := other.ScriptLoad(ctx, script); err != nil {
			t.Fatal(err)
		}
		check(t, []bool{true})(other.ScriptExists(ctx, script.SHA()))
	}
	boundThreads(t, before)
	cancel()
	for range count {
		checkCancelled(t, <-results)
	}
	resume()
	check(t, "of a hung server")(script.Call(ctx, nil).Text())

	resume = server.stopped(t)
	defer resume()
	for range count {
		go func() { results <- client.ScriptFlush(ctx, rsscript.FlushSync) }()
	}
	eventually(t, "some are in flight", func() bool { return client.Stats().InFlight > 0 })
	client.Close()
	for range count {
		var err *rsscript.Error
		if !errors.As(<-results, &err) || err.Indeterminate == err.NotExecuted {
			t.Fatalf("%+v", err)
		}
	}
}

func TestCancelWhileTheReplyIsDelivered(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url)
	script := client.Script("return ARGV[1]")
	for i := range 20 {
		resume := server.stopped(t)
		cancelled, cancel := context.WithCancel(ctx)
		result := make(chan rsscript.Result, 1)
		go func() { result <- script.Call(cancelled, nil, i) }()
		eventually(t, "it is in flight", func() bool { return client.Stats().InFlight == 1 })
		deliver := client.HoldReplies()
		resume()
		eventually(t, "its reply is there", func() bool { return client.Stats().InFlight == 0 })
		cancel()
		runtime.Gosched() // whether the caller has noticed or not
		deliver()
		check(t, int64(i))((<-result).Int64())
	}
}

func TestCancelAfter(t *testing.T) {
	client := open(t, url)
	script := client.Script("return ARGV[1]")
	before := client.Stats()
	for i := range 1000 {
		cancelled, cancel := context.WithCancel(ctx)
		first := script.Call(cancelled, nil, i)
		next := make(chan rsscript.Result, 1)
		// It is given the place of the first.
		go func() { next <- script.Call(ctx, nil, -i) }()
		cancel()
		check(t, int64(i))(first.Int64())
		check(t, int64(-i))((<-next).Int64())
	}
	if now := client.Stats(); now.Calls < before.Calls+2000 || now.InFlight != 0 {
		t.Fatalf("%+v", now)
	}
}

func TestCancelWhileConnecting(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url, rsscript.WithReconnectAttempts(0))
	server.kill()
	cancelled, cancel := context.WithCancel(ctx)
	result := make(chan error, 1)
	go func() {
		for {
			// The first may have been sent into the connection that is lost.
			if err := client.Do(cancelled, "PING").Err(); !errors.Is(err, rsscript.ErrIndeterminate) || cancelled.Err() != nil {
				result <- err
				return
			}
		}
	}()
	time.Sleep(50 * time.Millisecond) // any moment will do
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestCancelAtAnyMoment(t *testing.T) {
	client := open(t, url)
	goroutinesGone := noGoroutinesLeft(t)
	script := client.Script("return ARGV[1]")
	var answered, called atomic.Int64
	var group sync.WaitGroup
	for worker := range 64 {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := range 200 {
				cancelled, cancel := context.WithCancel(ctx)
				timer := time.AfterFunc(time.Duration((i*worker)%500)*time.Microsecond, cancel)
				want := fmt.Sprint(worker, i)
				got, err := script.Call(cancelled, nil, want).Text()
				switch {
				case err == nil && got == want:
					answered.Add(1)
				case errors.Is(err, context.Canceled) &&
					(errors.Is(err, rsscript.ErrIndeterminate) || errors.Is(err, rsscript.ErrCancelled)):
					called.Add(1)
				default:
					t.Error(got, err)
				}
				timer.Stop()
				cancel()
			}
		}()
	}
	group.Wait()
	t.Logf("%d answered, %d called off", answered.Load(), called.Load())
	check(t, "PONG")(client.Do(ctx, "PING").Text())
	goroutinesGone()
}

func TestTenThousandCancelledAtOnce(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url)
	paused(t, client)
	before := threads(t)
	cancelled, cancel := context.WithCancel(ctx)
	const count = 10000
	results := make(chan error, count)
	for range count {
		go func() { results <- client.Do(cancelled, "PING").Err() }()
	}
	eventually(t, "all are in flight", func() bool { return client.Stats().InFlight >= count })
	cancel()
	for range count {
		err := <-results
		checkCancelled(t, err)
	}
	boundThreads(t, before)
}

// boundThreads checks that no thread came for each of many calls.
func boundThreads(t testing.TB, before int) {
	t.Helper()
	if now := threads(t); now > before+2*runtime.GOMAXPROCS(0)+24 {
		t.Fatalf("%d threads, and %d before", now, before)
	}
}

func TestTenThousandGoroutines(t *testing.T) {
	client := open(t, url)
	script := client.Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
	key := keyOf(t)
	before := threads(t)
	goroutinesGone := noGoroutinesLeft(t)
	const count = 10000
	var group sync.WaitGroup
	var sum atomic.Int64
	for i := range count {
		group.Add(1)
		go func() {
			defer group.Done()
			for range 3 {
				if err := script.Call(ctx, []string{key}, i).Err(); err != nil {
					t.Error(err)
				}
				sum.Add(int64(i))
			}
		}()
	}
	group.Wait()
	boundThreads(t, before)
	check(t, sum.Load())(client.Do(ctx, "GET", key).Int64())
	goroutinesGone()
}

func TestServerDeathUnderTenThousandCalls(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url, rsscript.WithReconnectAttempts(1))
	script := client.Script("return 1")
	check(t, int64(1))(script.Call(ctx, nil).Int64())
	paused(t, client)
	before := threads(t)
	goroutinesGone := noGoroutinesLeft(t)
	const count = 10000
	results := make(chan error, count)
	for range count {
		go func() { results <- script.Call(ctx, nil).Err() }()
	}
	eventually(t, "all are in flight", func() bool { return client.Stats().InFlight >= count })
	server.kill()
	indeterminate := 0
	for range count {
		var err *rsscript.Error
		if !errors.As(<-results, &err) || err.Indeterminate == err.NotExecuted {
			t.Fatalf("%+v", err)
		}
		// The last of them may not have left this machine.
		if err.Indeterminate {
			indeterminate++
		}
	}
	if indeterminate == 0 {
		t.Fatal("none was sent")
	}
	boundThreads(t, before)
	goroutinesGone()
	if err := checkError(t, script.Call(ctx, nil).Err(), rsscript.ErrConnect); !err.NotExecuted {
		t.Fatal(err)
	}
}

func TestServerComesBack(t *testing.T) {
	server, err := startServerOnPort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.stop)
	client := open(t, server.url)
	script := client.Script("return 1")
	check(t, int64(1))(script.Call(ctx, nil).Int64())
	server.mustRaw(t, "CLIENT KILL TYPE normal")
	eventually(t, "calls succeed again", func() bool { return script.Call(ctx, nil).Err() == nil })
}

func TestQueueFull(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url, rsscript.WithMaxInFlight(4), rsscript.WithFailWhenFull())
	paused(t, client)
	results := make(chan error, 4)
	for range 4 {
		go func() { results <- client.Do(ctx, "PING").Err() }()
	}
	eventually(t, "four are in flight", func() bool { return client.Stats().InFlight == 4 })
	if err := checkError(t, client.Do(ctx, "PING").Err(), rsscript.ErrQueueFull); !err.NotExecuted {
		t.Fatal(err)
	}
	client.Close()
	for range 4 {
		checkError(t, <-results, rsscript.ErrIndeterminate)
	}
}

func TestCloseInFlight(t *testing.T) {
	server := ownServer(t)
	goroutinesGone := noGoroutinesLeft(t)
	client := open(t, server.url)
	view, err := client.WithRouteKey("k")
	if err != nil {
		t.Fatal(err)
	}
	paused(t, client)
	const count = 1000
	results := make(chan error, count)
	for i := range count {
		if i%2 == 0 {
			go func() { results <- client.Do(ctx, "PING").Err() }()
		} else {
			go func() { results <- view.Script("return 1").Call(ctx, nil).Err() }()
		}
	}
	eventually(t, "all are in flight", func() bool { return client.Stats().InFlight >= count })
	var closing sync.WaitGroup
	for range 3 {
		closing.Add(1)
		go func() {
			defer closing.Done()
			client.Close()
		}()
	}
	closing.Wait()
	for range count {
		var err *rsscript.Error
		if !errors.As(<-results, &err) || err.Indeterminate == err.NotExecuted {
			t.Fatalf("%+v", err)
		}
	}
	goroutinesGone()
}

func TestClosed(t *testing.T) {
	client := open(t, url)
	script, pipeline := client.Script("return 1"), client.Pipeline().Do("PING")
	view, err := client.WithReadFrom(rsscript.Replica)
	if err != nil {
		t.Fatal(err)
	}
	if client.Close() != nil || client.Close() != nil {
		t.Fatal("closing cannot fail")
	}
	_, executed := pipeline.Exec(ctx)
	_, exists := client.ScriptExists(ctx, script.SHA())
	_, shown := client.ScriptShow(ctx, script.SHA())
	for _, err := range []error{
		shown, script.Call(ctx, nil).Err(), client.Do(ctx, "PING").Err(), view.Do(ctx, "PING").Err(), executed, exists,
		client.ScriptFlush(ctx, rsscript.FlushSync), client.ScriptKill(ctx), client.ScriptLoad(ctx, script),
	} {
		if err := checkError(t, err, rsscript.ErrClosed); !err.NotExecuted {
			t.Fatal(err)
		}
	}
	if view.Close() != nil {
		t.Fatal("closing cannot fail")
	}
	// What sends nothing can still be asked for.
	if client.Stats().InFlight != 0 || len(client.Script("return 2").SHA()) != 40 ||
		client.Pipeline().Do("PING").Len() != 1 {
		t.Fatal(client.Stats())
	}
	view, err = client.WithRouteKey("key")
	if err == nil {
		err = view.Do(ctx, "PING").Err()
	}
	checkError(t, err, rsscript.ErrClosed)
	check(t, int64(1))(script.On(open(t, url)).Call(ctx, nil).Int64())
}

func TestCloseWhileCallsAreMade(t *testing.T) {
	goroutinesGone := noGoroutinesLeft(t)
	for range 30 {
		client := open(t, url)
		script := client.Script("return 1")
		var group sync.WaitGroup
		for range 16 {
			group.Add(1)
			go func() {
				defer group.Done()
				for {
					err := script.Call(ctx, nil).Err()
					if errors.Is(err, rsscript.ErrClosed) {
						return
					}
					if err != nil && !errors.Is(err, rsscript.ErrIndeterminate) {
						t.Error(err)
						return
					}
				}
			}()
		}
		runtime.Gosched()
		client.Close()
		group.Wait()
	}
	goroutinesGone()
}

func TestClientsLeaveNothingBehind(t *testing.T) {
	open(t, url).Do(ctx, "PING")
	goroutinesGone := noGoroutinesLeft(t)
	before := threads(t)
	for range 50 {
		client := open(t, url)
		check(t, "PONG")(client.Do(ctx, "PING").Text())
		client.Close()
	}
	goroutinesGone()
	eventually(t, "threads go", func() bool { return threads(t) <= before+8 })
}

func TestGarbageCollectionDuringCalls(t *testing.T) {
	client := open(t, url)
	stop := make(chan struct{})
	collected := make(chan struct{})
	go func() {
		defer close(collected)
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	}()
	var group sync.WaitGroup
	for worker := range 16 {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := range 100 {
				// The script, and every other time the view, is garbage as soon as it is called.
				from := client
				if i%2 == 0 {
					view, err := client.WithRouteSlot(uint16(i))
					if err != nil {
						t.Error(err)
						return
					}
					from = view
				}
				want := strings.Repeat("x", i) + fmt.Sprint(worker)
				got, err := from.Script(fmt.Sprintf("return ARGV[1] -- %d %d", worker, i)).Call(ctx, nil, want).Text()
				if err != nil || got != want {
					t.Error(got, err)
				}
			}
		}()
	}
	group.Wait()
	close(stop)
	<-collected
}

// A client of which its last call is under way is not closed before that has its reply.
func TestTheLastCallOfAClientThatNobodyHasAnyMore(t *testing.T) {
	server := ownServer(t)
	other := open(t, server.url)
	// Alone, and with others that the reader polls for.
	for _, within := range []context.Context{ctx, func() context.Context {
		within, cancel := context.WithTimeout(ctx, time.Hour)
		t.Cleanup(cancel)
		return within
	}()} {
		client, err := rsscript.Open(ctx, server.url)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			// The reader takes the polling over meanwhile, and the caller only waits.
			time.Sleep(100 * time.Millisecond)
			for range 10 {
				runtime.GC()
				time.Sleep(10 * time.Millisecond)
			}
			other.Do(ctx, "RPUSH", "list", "value")
		}()
		popped, err := client.Do(within, "BLPOP", "list", 0).Strings()
		if err != nil || len(popped) != 2 || popped[1] != "value" {
			t.Fatal(popped, err)
		}
	}
}

func TestOpenIsGivenUp(t *testing.T) {
	// A listener that never answers.
	silent := silentServer(t)
	goroutinesGone := noGoroutinesLeft(t)
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		ending, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		if end == context.Canceled {
			var cancelInner context.CancelFunc
			ending, cancelInner = context.WithCancel(ctx)
			time.AfterFunc(50*time.Millisecond, cancelInner)
		}
		_, err := rsscript.Open(ending, silent, rsscript.WithConnectTimeout(5*time.Second))
		var own *rsscript.Error
		if !errors.Is(err, end) || !errors.As(err, &own) || !own.NotExecuted {
			t.Fatal(end, err)
		}
		cancel()
	}
	goroutinesGone()
}

func TestViews(t *testing.T) {
	client := open(t, url)
	for name, view := range map[string]func() (*rsscript.Client, error){
		"key":  func() (*rsscript.Client, error) { return client.WithRouteKey("a\x00b") },
		"none": func() (*rsscript.Client, error) { return client.WithRouteKey("") },
		"slot": func() (*rsscript.Client, error) { return client.WithRouteSlot(16383) },
		"node": func() (*rsscript.Client, error) { return client.WithRouteNode("127.0.0.1:6379") },
		"read": func() (*rsscript.Client, error) { return client.WithReadFrom(rsscript.PreferReplica) },
	} {
		client, err := view()
		if err != nil {
			t.Fatal(name, err)
		}
		if name != "node" {
			check(t, "PONG")(client.Do(ctx, "PING").Text())
		}
	}
	for name, view := range map[string]func() (*rsscript.Client, error){
		"slot":   func() (*rsscript.Client, error) { return client.WithRouteSlot(16384) },
		"node":   func() (*rsscript.Client, error) { return client.WithRouteNode("nowhere") },
		"node 2": func() (*rsscript.Client, error) { return client.WithRouteNode("a\x00:1") },
		"read":   func() (*rsscript.Client, error) { return client.WithReadFrom(4) },
	} {
		_, err := view()
		if err == nil {
			t.Fatal(name)
		}
		checkError(t, err, rsscript.ErrInvalidArgument)
	}
}

// memory is that of this process in bytes, the native library's included; Go's heap alone where that is not to be had.
func memory() int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil || raceDetector {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int(stats.HeapAlloc)
	}
	var size, resident int
	fmt.Sscan(string(text), &size, &resident)
	return resident * os.Getpagesize()
}

func TestAMillionCalls(t *testing.T) {
	client := open(t, url)
	echo, list := client.Script("return ARGV[1]"), client.Script("return {KEYS[1], 2, {redis.error_reply('MINE')}}")
	fails := client.Script("return redis.error_reply('MINE')")
	long := strings.Repeat("x", 2000)
	call := func(ctx context.Context, number int) (err error) {
		ok := true
		switch number % 8 {
		case 0, 1, 2:
			var text string
			text, err = echo.Call(ctx, nil, number).Text()
			ok = text == fmt.Sprint(number)
		case 3:
			var text string
			text, err = echo.Call(ctx, nil, long).Text()
			ok = text == long
		case 4, 5:
			var elements []rsscript.Result
			elements, err = list.Call(ctx, []string{"key"}).Slice()
			ok = len(elements) == 3
		case 6:
			if err = fails.Call(ctx, nil).Err(); errors.Is(err, rsscript.ErrServer) {
				return nil
			}
			ok = err != nil
		case 7:
			var results []rsscript.Result
			results, err = client.Pipeline().Do("PING").Call(echo, nil, number).Exec(ctx)
			ok = len(results) == 2
		}
		if err == nil && !ok {
			err = fmt.Errorf("call %d was answered wrongly", number)
		}
		return err
	}
	calls := func(count int) (cancelled int64) {
		var group sync.WaitGroup
		var sum atomic.Int64
		for worker := range 100 {
			group.Add(1)
			go func() {
				defer group.Done()
				for i := range count / 100 {
					ctx, number := ctx, i*100+worker
					if i%50 == 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithCancel(ctx)
						go cancel()
					}
					if err := call(ctx, number); errors.Is(err, context.Canceled) {
						sum.Add(1)
					} else if err != nil {
						t.Error(err)
						return
					}
				}
			}()
		}
		group.Wait()
		runtime.GC()
		return sum.Load()
	}
	count := 1_000_000
	if raceDetector {
		count = 100_000
	}
	calls(count / 10)
	goroutinesGone := noGoroutinesLeft(t)
	before, threadsBefore := memory(), threads(t)
	cancelled := calls(count)
	goroutinesGone()
	eventually(t, "nothing is in flight", func() bool { return client.Stats().InFlight == 0 })
	runtime.GC()
	if now := memory(); now > before+16<<20 {
		t.Errorf("%d bytes, and %d before", now, before)
	}
	if now := threads(t); now > threadsBefore+8 {
		t.Errorf("%d threads, and %d before", now, threadsBefore)
	}
	if cancelled == 0 {
		t.Error("no call was cancelled")
	}
	t.Logf("%d of %d calls were cancelled; %d KiB before, %d KiB now", cancelled, count, before>>10, memory()>>10)
}
