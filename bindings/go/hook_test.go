// Hooks are told of each call once before it and once after it, in an order that nests.

package rsscript_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

type contextKey struct{}

// recorder writes down what it is told.
type recorder struct {
	name string
	told *[]string
	mu   *sync.Mutex
	// The last call.
	call    *rsscript.CallInfo
	outcome *rsscript.Outcome
}

func (r *recorder) say(format string, arguments ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*r.told = append(*r.told, r.name+" "+fmt.Sprintf(format, arguments...))
}

func (r *recorder) Before(ctx context.Context, call *rsscript.CallInfo) context.Context {
	r.say("before %s", call.Operation)
	return context.WithValue(ctx, contextKey{}, r.name)
}

func (r *recorder) After(ctx context.Context, call *rsscript.CallInfo, outcome *rsscript.Outcome) {
	r.say("after %s, with the context of %v", call.Operation, ctx.Value(contextKey{}))
	r.mu.Lock()
	r.call, r.outcome = call, outcome
	r.mu.Unlock()
}

func TestHooks(t *testing.T) {
	var told []string
	var mu sync.Mutex
	outer, inner := &recorder{name: "outer", told: &told, mu: &mu}, &recorder{name: "inner", told: &told, mu: &mu}
	client := open(t, url, rsscript.WithHook(outer), rsscript.WithHook(inner))
	key := keyOf(t)
	sha := client.Script("return #KEYS").SHA()
	last := func() (rsscript.CallInfo, rsscript.Outcome) {
		t.Helper()
		if inner.outcome.Duration <= 0 || inner.outcome != outer.outcome {
			t.Fatal(inner.outcome)
		}
		return *inner.call, *inner.outcome
	}

	noError(t, client.Do(ctx, "set", key, 1).Err())
	equal(t, told, []string{
		"outer before SET", "inner before SET",
		"inner after SET, with the context of inner",
		"outer after SET, with the context of outer",
	})
	call, outcome := last()
	equal(t, call, rsscript.CallInfo{Operation: "SET", Args: 2})
	noError(t, outcome.Err)

	named := client.Script("return #KEYS", rsscript.Name("count"), rsscript.Idempotent)
	equal(t, named.Name(), "count")
	noError(t, named.CallRO(ctx, []string{key}, 1, 2).Err())
	call, _ = last()
	equal(t, call, rsscript.CallInfo{Operation: "EVALSHA_RO", Script: "count", SHA: sha, Keys: 1, Args: 2, ReadOnly: true})

	results, err := client.Transaction().Do("SET", key, "text").Call(client.Script("return #KEYS"), nil).
		Do("INCR", key).Exec(ctx)
	noError(t, err)
	call, outcome = last()
	equal(t, call, rsscript.CallInfo{Operation: "MULTI", Items: []rsscript.CallInfo{
		{Operation: "SET", Args: 2}, {Operation: "EVALSHA", Script: sha, SHA: sha}, {Operation: "INCR", Args: 1},
	}})
	if outcome.Err != nil || len(outcome.Items) != 3 || outcome.Items[2].Err() == nil {
		t.Fatal(outcome)
	}
	if first := rsscript.FirstErr(results); first == nil || first != results[2].Err() ||
		rsscript.FirstErr(results[:2]) != nil || rsscript.FirstErr(nil) != nil {
		t.Fatal(first)
	}

	library := client.Library(functions)
	counter := library.Function("count", rsscript.Name("counter"))
	noError(t, counter.Call(ctx, []string{keyOf(t)}).Err())
	call, _ = last()
	equal(t, call, rsscript.CallInfo{Operation: "FCALL", Script: "counter", SHA: counter.SHA(), Keys: 1})
	noError(t, library.Function("get").CallRO(ctx, []string{keyOf(t)}).Err())
	call, _ = last()
	equal(t, call.Operation, "FCALL_RO")

	for operation, do := range map[string]func() error{
		"FUNCTION LOAD":   func() error { return client.ScriptLoad(ctx, counter) },
		"FUNCTION LIST":   func() error { _, err := client.LibraryCheck(ctx, library); return err },
		"FUNCTION DELETE": func() error { _, err := client.LibraryPrune(ctx, library); return err },
		"SCRIPT LOAD":     func() error { return client.ScriptLoad(ctx, named) },
		"SCRIPT EXISTS":   func() error { _, err := client.ScriptExists(ctx, sha); return err },
		"SCRIPT KILL":     func() error { return client.ScriptKill(ctx) },
		"SCRIPT SHOW":     func() error { _, err := client.ScriptShow(ctx, sha); return err },
		"KILL":            func() error { _, err := client.Kill(ctx); return err },
		"CLIENT ID":       func() error { return client.Do(ctx, "CLIENT", "ID").Err() },
		"CONFIG":          func() error { return client.Do(ctx, "CONFIG").Err() },
		"PIPELINE":        func() error { _, err := client.Pipeline().Do("PING").Exec(ctx); return err },
	} {
		err := do()
		call, outcome := last()
		if call.Operation != operation || !reflect.DeepEqual(outcome.Err, err) {
			t.Fatal(operation, call, outcome.Err, err)
		}
	}
	// Views have them too. Of what is refused before it is a call nobody is told.
	view, err := client.WithRouteSlot(1)
	noError(t, err)
	noError(t, view.Do(ctx, "PING").Err())
	count := len(told)
	checkError(t, client.Do(ctx).Err(), rsscript.ErrInvalidArgument)
	equal(t, len(told), count)

	check(t, "PONG")(client.DoWith(ctx, rsscript.CallOptions{ReadOnly: true}, "PING").Text())
	call, _ = last()
	equal(t, call, rsscript.CallInfo{Operation: "PING", ReadOnly: true})
	checkError(t, client.Reauthenticate(ctx), rsscript.ErrInvalidArgument)
	call, _ = last()
	equal(t, call, rsscript.CallInfo{Operation: "AUTH"})

	if _, err := rsscript.Open(ctx, url, rsscript.WithHook(nil)); !errors.Is(err, rsscript.ErrInvalidOption) {
		t.Fatal(err)
	}
	for _, line := range told {
		if strings.Contains(line, key) {
			t.Fatal(line)
		}
	}
}

// leftInFlight has a call cancelled once it is in flight, and gives its error.
func leftInFlight(t *testing.T, client *rsscript.Client, call func(context.Context) error) error {
	t.Helper()
	cancelled, cancel := context.WithCancel(ctx)
	defer cancel()
	before := client.Stats().InFlight
	result := make(chan error, 1)
	go func() { result <- call(cancelled) }()
	eventually(t, "it is in flight", func() bool { return client.Stats().InFlight > before })
	cancel()
	return <-result
}

// What a hook is told of the way that a call took, of each kind of reply and error.
func TestHooksOfTheWay(t *testing.T) {
	server := ownServer(t)
	var told []string
	hook := &recorder{told: &told, mu: new(sync.Mutex)}
	client := open(t, server.url, rsscript.WithHook(hook), rsscript.WithMaxReplyBytes(1<<20))
	is := func(attempts int, node string, sent, received uint64) {
		t.Helper()
		o := hook.outcome
		if o.Attempts != attempts || o.Node != node || o.BytesSent != sent || o.BytesReceived != received {
			t.Fatalf("%+v", o)
		}
	}
	check(t, "PONG")(client.Do(ctx, "PING").Text())
	is(1, server.address, 14, 7)
	check(t, int64(1))(client.Do(ctx, "INCR", "n").Int64())
	is(1, server.address, 21, 4)
	if !client.Do(ctx, "GET", "m").IsNil() {
		t.Fatal("there is one")
	}
	is(1, server.address, 20, 3)
	checkError(t, client.Do(ctx, "NOSUCH").Err(), rsscript.ErrServer)
	if o := hook.outcome; o.Attempts != 1 || o.Node != server.address || o.BytesSent != 16 || o.BytesReceived < 20 {
		t.Fatalf("%+v", o)
	}
	results, err := client.Pipeline().Do("PING").Do("INCR", "n").Exec(ctx)
	noError(t, err)
	equal(t, len(results), 2)
	is(1, server.address, 35, 11)
	// One that is larger than what others share.
	text, err := client.Script("return string.rep('x', 500000)").Call(ctx, nil).Text()
	if noError(t, err); len(text) != 500000 || hook.outcome.BytesReceived != 500011 ||
		hook.outcome.Node != server.address {
		t.Fatal(len(text), hook.outcome)
	}
	// What was refused here, or never sent.
	checkError(t, client.Do(ctx, "SUBSCRIBE", "a").Err(), rsscript.ErrCommandRefused)
	is(0, "", 0, 0)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	checkError(t, client.Do(cancelled, "PING").Err(), rsscript.ErrCancelled)
	is(0, "", 0, 0)
	// What was sent and never answered.
	resume := server.stopped(t)
	err = leftInFlight(t, client, func(ctx context.Context) error { return client.Do(ctx, "PING").Err() })
	checkError(t, err, rsscript.ErrIndeterminate)
	is(1, server.address, 14, 0)
	resume()
	server.kill()
	eventually(t, "nobody is there any more", func() bool {
		return errors.Is(client.Do(ctx, "PING").Err(), rsscript.ErrConnect)
	})
	// The one before may have been put on the connection of which nobody had noticed yet that it was dead.
	checkError(t, client.Do(ctx, "PING").Err(), rsscript.ErrConnect)
	is(0, server.address, 0, 0)
}
