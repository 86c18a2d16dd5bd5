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
		"outer before SET", "inner before SET", "inner after SET, with the context of inner", "outer after SET, with the context of outer",
	})
	call, outcome := last()
	equal(t, call, rsscript.CallInfo{Operation: "SET", Args: 2})
	noError(t, outcome.Err)

	named := client.Script("return #KEYS", rsscript.Name("count"), rsscript.Idempotent)
	equal(t, named.Name(), "count")
	noError(t, named.CallRO(ctx, []string{key}, 1, 2).Err())
	call, _ = last()
	equal(t, call, rsscript.CallInfo{Operation: "EVALSHA_RO", Script: "count", SHA: sha, Keys: 1, Args: 2, ReadOnly: true})

	results, err := client.Transaction().Do("SET", key, "text").Call(client.Script("return #KEYS"), nil).Do("INCR", key).Exec(ctx)
	noError(t, err)
	call, outcome = last()
	equal(t, call, rsscript.CallInfo{Operation: "MULTI", Items: []rsscript.CallInfo{
		{Operation: "SET", Args: 2}, {Operation: "EVALSHA", Script: sha, SHA: sha}, {Operation: "INCR", Args: 1},
	}})
	if outcome.Err != nil || len(outcome.Items) != 3 || outcome.Items[2].Err() == nil {
		t.Fatal(outcome)
	}
	if first := rsscript.FirstErr(results); first == nil || first != results[2].Err() || rsscript.FirstErr(results[:2]) != nil || rsscript.FirstErr(nil) != nil {
		t.Fatal(first)
	}

	for operation, do := range map[string]func() error{
		"SCRIPT LOAD":   func() error { return client.ScriptLoad(ctx, named) },
		"SCRIPT EXISTS": func() error { _, err := client.ScriptExists(ctx, sha); return err },
		"SCRIPT KILL":   func() error { return client.ScriptKill(ctx) },
		"SCRIPT SHOW":   func() error { _, err := client.ScriptShow(ctx, sha); return err },
		"KILL":          func() error { _, err := client.Kill(ctx); return err },
		"CLIENT ID":     func() error { return client.Do(ctx, "CLIENT", "ID").Err() },
		"CONFIG":        func() error { return client.Do(ctx, "CONFIG").Err() },
		"PIPELINE":      func() error { _, err := client.Pipeline().Do("PING").Exec(ctx); return err },
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

	if _, err := rsscript.Open(ctx, url, rsscript.WithHook(nil)); !errors.Is(err, rsscript.ErrInvalidOption) {
		t.Fatal(err)
	}
	for _, line := range told {
		if strings.Contains(line, key) {
			t.Fatal(line)
		}
	}
}
