// 32 callers on a real cluster in trouble: whatever the client says of their calls must be true.
//
// RS_SCRIPT_HISTORIES is how many histories there are, one kind of trouble after the other; RS_SCRIPT_HISTORY
// one of them, by its number.

package histories

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

const (
	callers  = 32
	keyCount = 16
	// Between two calls of a caller, so that a history is not longer than can be decided.
	rest = 20 * time.Millisecond
	// Rounds of trouble on a slow machine take long: a caller makes no more calls than this.
	most = 400
)

const appendSource = `local n = redis.call('LLEN', KEYS[1])
local last = redis.call('LINDEX', KEYS[1], -1) or ''
redis.call('RPUSH', KEYS[1], ARGV[1])
return {n, last, redis.call('CLUSTER', 'MYID')}`

const lookSource = `return {redis.call('LLEN', KEYS[1]), redis.call('LINDEX', KEYS[1], -1) or '', redis.call('CLUSTER', 'MYID')}`

// recorder makes calls and writes down what came of them.
type recorder struct {
	t            *testing.T
	append, look *rsscript.Script
	// lies changes what is written down, or what is done: a planted fault.
	lies func(r *recorder, made *call)

	mutex   sync.Mutex
	calls   []call
	refused error
}

func (r *recorder) make(key, id string, timeout time.Duration) {
	made := call{key: key, id: id, start: time.Now()}
	result := r.ask(key, id, timeout)
	made.end = time.Now()
	r.take(&made, result)
	if r.lies != nil {
		r.lies(r, &made)
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.calls = append(r.calls, made)
}

func (r *recorder) ask(key, id string, timeout time.Duration) rsscript.Result {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if id == "" {
		return r.look.CallRO(ctx, []string{key})
	}
	return r.append.Call(ctx, []string{key}, id)
}

func (r *recorder) take(made *call, result rsscript.Result) {
	var failed *rsscript.Error
	switch {
	case errors.As(result.Err(), &failed) && failed.Indeterminate == failed.NotExecuted:
		r.mutex.Lock()
		r.refused = fmt.Errorf("says neither that it has run nor that it has not: %w", failed)
		r.mutex.Unlock()
		made.outcome = indeterminate
	case failed != nil && failed.NotExecuted:
		made.outcome = notExecuted
	case failed != nil:
		made.outcome = indeterminate
	case result.Err() != nil:
		r.t.Errorf("%s: an error of another kind: %v", made, result.Err())
		made.outcome = indeterminate
	default:
		var seen []rsscript.Result
		var err error
		if seen, err = result.Slice(); err == nil && len(seen) == 3 {
			made.before, err = seen[0].Int64()
			made.last, _ = seen[1].Text()
			made.node, _ = seen[2].Text()
		}
		if err != nil || len(seen) != 3 {
			r.t.Errorf("%s: an answer that is none: %v", made, result)
		}
	}
}

// history is what came of one run.
type history struct {
	calls   []call
	lists   map[string][]string
	changes []replaced
	refused error
}

func (h history) check(keeps bool) (lost int, err error) {
	if h.refused != nil {
		return 0, h.refused
	}
	if lost, err = checkFinal(h.calls, h.lists, h.changes, keeps); err != nil || !keeps {
		return lost, err
	}
	return lost, checkLinearizable(h.calls)
}

// run has 32 callers call while the trouble happens.
func run(t *testing.T, kind trouble, seed uint64, lies func(*recorder, *call)) history {
	random := rand.New(rand.NewPCG(seed, 1))
	c := startCluster(t, kind.replicas, kind.nodeTimeout)
	client, err := rsscript.Open(context.Background(), c.url())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var keys []string
	for number := range keyCount {
		keys = append(keys, fmt.Sprint("list:", number))
	}

	r := &recorder{t: t, append: client.Script(appendSource), look: client.Script(lookSource), lies: lies}
	var over atomic.Bool
	var made atomic.Int64
	var group sync.WaitGroup
	for caller := range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			random := rand.New(rand.NewPCG(seed, uint64(caller)+2))
			for number := 0; number < most && !over.Load(); number++ {
				// Some wait until the trouble is over, others are gone before.
				timeout := []time.Duration{200 * time.Millisecond, time.Second, 30 * time.Second}[random.IntN(3)]
				id := fmt.Sprintf("%d.%d", caller, number)
				if random.IntN(5) == 0 {
					id = ""
				}
				r.make(keys[random.IntN(len(keys))], id, timeout)
				made.Add(1)
				time.Sleep(time.Duration(random.Int64N(int64(2 * rest))))
			}
		}()
	}
	// Calls are under way before, during and after each round.
	calls := func(count int64) {
		goal := made.Load() + count
		eventually(t, "calls are made", func() bool { return made.Load() >= min(goal, callers*most) })
	}
	var changes []replaced
	calls(4 * callers)
	for range kind.rounds {
		changes = append(changes, kind.happen(c, random, keys)...)
		calls(4 * callers)
	}
	over.Store(true)
	group.Wait()

	c.waitUntilWhole()
	lists := map[string][]string{}
	for _, key := range keys {
		r.make(key, "", patience)
		var elements []any
		slot := c.servers[0].must("CLUSTER", "KEYSLOT", key).(int64)
		elements, _ = c.owner(slot).must("LRANGE", key, "0", "-1").([]any)
		for _, element := range elements {
			lists[key] = append(lists[key], element.(string))
		}
	}
	return history{r.calls, lists, changes, r.refused}
}

func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	number, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s is no number: %s", name, text)
	}
	return number
}

func TestHistories(t *testing.T) {
	first := number(t, "RS_SCRIPT_HISTORY", 0)
	count := 1
	if os.Getenv("RS_SCRIPT_HISTORY") == "" {
		// In the tests: kill and migration, and a failover or a partition.
		count = number(t, "RS_SCRIPT_HISTORIES", 3)
	}
	totals := map[string][5]int{}
	for at := first; at < first+count; at++ {
		kind := troubles[at%len(troubles)]
		t.Run(fmt.Sprint(kind.name, "/", at), func(t *testing.T) {
			h := run(t, kind, uint64(at), nil)
			lost, err := h.check(kind.keeps)
			if err != nil {
				t.Fatalf("%v\nagain, as far as a machine repeats itself: RS_SCRIPT_HISTORY=%d scripts/histories", err, at)
			}
			total := totals[kind.name]
			total[0]++
			for _, made := range h.calls {
				total[1+int(made.outcome)]++
			}
			total[4] += lost
			totals[kind.name] = total
		})
	}
	for _, kind := range troubles {
		if total := totals[kind.name]; total[0] > 0 {
			fmt.Printf("%-10s %d histories: %d calls answered, %d indeterminate, %d not executed; acknowledged and lost by servers: %d\n",
				kind.name, total[0], total[1], total[2], total[3], total[4])
		}
	}
}
