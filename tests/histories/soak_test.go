// A long run through everything that befalls servers and clients: every count is exact, and nothing grows.
//
// RS_SCRIPT_SOAK is how long it takes, in seconds.

package histories

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

const soakers = 16

// What may be added between the first rounds and the last: the run-time of Go has threads and memory of its own.
const (
	moreMemory      = 32 << 20
	moreThreads     = 16
	moreDescriptors = 4
)

// counter is what one caller knows of its key: at least this many increments have run, and as many more may
// have or may yet.
type counter struct {
	key             string
	ran, pending    int64
	answered, never int64
}

// increment makes a call, and says what is wrong with the answer.
func (c *counter) increment(script *rsscript.Script, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	result := script.Call(ctx, []string{c.key})
	var failed *rsscript.Error
	if errors.As(result.Err(), &failed) {
		switch {
		case failed.Indeterminate == failed.NotExecuted:
			return fmt.Errorf("%s: neither run nor not run: %w", c.key, failed)
		case failed.NotExecuted:
			c.never++
		default:
			c.pending++
		}
		return nil
	}
	value, err := result.Int64()
	if err != nil {
		return err
	}
	c.answered++
	return c.learn(value, 1)
}

// learn takes in what the key is after so many more increments.
func (c *counter) learn(value, more int64) error {
	late := value - c.ran - more
	if late < 0 || late > c.pending {
		return fmt.Errorf("%s is %d: %d ran before, %d more may have", c.key, value, c.ran, c.pending)
	}
	c.ran, c.pending = value, c.pending-late
	return nil
}

// holds is what this process has of the system.
type holds struct{ memory, threads, descriptors int64 }

func (h holds) String() string {
	return fmt.Sprintf("%.1f MiB, %d threads, %d descriptors", float64(h.memory)/(1<<20), h.threads, h.descriptors)
}

func measure(t *testing.T) holds {
	runtime.GC()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	field := func(name string) int64 {
		_, behind, _ := strings.Cut(string(status), "\n"+name+":")
		number, err := strconv.ParseInt(strings.Fields(behind)[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return number
	}
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return holds{field("VmRSS") << 10, field("Threads"), int64(len(descriptors))}
}

// vault has the password of now, which every server takes, and the one before.
type vault struct {
	c        *cluster
	password atomic.Pointer[string]
	number   int
}

func (v *vault) credentials(context.Context, string) (rsscript.Credentials, error) {
	return rsscript.Credentials{Username: "app", Password: *v.password.Load(), Lifetime: 2 * time.Second}, nil
}

func (v *vault) tell(server *server) {
	server.must("ACL", "SETUSER", "app", "on", "~*", "&*", "+@all", ">"+*v.password.Load())
}

func (v *vault) rotate() {
	before := v.password.Load()
	v.number++
	password := fmt.Sprint("secret-", v.number)
	v.password.Store(&password)
	for _, server := range v.c.servers {
		v.tell(server)
	}
	if before != nil {
		for _, server := range v.c.servers {
			server.must("ACL", "SETUSER", "app", "<"+*before)
		}
	}
}

func TestSoak(t *testing.T) {
	long := time.Duration(number(t, "RS_SCRIPT_SOAK", 20)) * time.Second
	random := rand.New(rand.NewPCG(1, 2))
	// No replica takes over unasked: it might lack what the primary has acknowledged. (Votes for one replica wait
	// until twice the node's time-out is over.)
	c := startCluster(t, 1, 2*time.Second, "--cluster-replica-no-failover", "yes")
	v := &vault{c: c}
	v.rotate()
	open := func() *rsscript.Client {
		client, err := rsscript.Open(context.Background(), c.url(), rsscript.WithCredentials(v.credentials), rsscript.WithLazyConnect())
		if err != nil {
			t.Error(err)
		}
		return client
	}
	client := open()
	var over atomic.Bool
	var group sync.WaitGroup
	counters := make([]*counter, soakers)
	for at := range counters {
		own := &counter{key: fmt.Sprint("soak:", at)}
		counters[at] = own
		group.Add(1)
		go func() {
			defer group.Done()
			random := rand.New(rand.NewPCG(3, uint64(at)))
			script := client.Script("return redis.call('INCR', KEYS[1])")
			for !over.Load() {
				way := script
				// Some have a client for one call.
				var once *rsscript.Client
				if random.IntN(20) == 0 {
					if once = open(); once != nil {
						way = script.On(once)
					}
				}
				err := own.increment(way, []time.Duration{100 * time.Millisecond, time.Second, 30 * time.Second}[random.IntN(3)])
				if once != nil {
					once.Close()
				}
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
			}
		}()
	}

	keys := make([]string, soakers)
	for at := range keys {
		keys[at] = counters[at].key
	}
	done := map[string]int{}
	var measured []holds
	rounds := []struct {
		name   string
		happen func()
	}{
		{"restart", func() {
			victim := c.servers[random.IntN(len(c.servers))]
			victim.kill()
			pause(random)
			victim.restart()
			v.tell(victim)
			c.waitUntilWhole()
		}},
		{"flush", func() {
			for range 20 {
				c.servers[random.IntN(len(c.servers))].must("SCRIPT", "FLUSH")
			}
		}},
		// Asked for, so that nothing is lost.
		{"failover", func() {
			primaries, _ := c.roles()
			c.promote(c.replicaOf(primaries[random.IntN(len(primaries))]), "CLUSTER", "FAILOVER")
			c.waitUntilWhole()
		}},
		{"slots moved", func() { c.migrateSome(random, keys[:4]) }},
		{"rotation", v.rotate},
	}
	// Each at least once, however long that takes.
	for began := time.Now(); len(measured) < len(rounds) || time.Since(began) < long; {
		round := rounds[len(measured)%len(rounds)]
		round.happen()
		done[round.name]++
		pause(random)
		measured = append(measured, measure(t))
	}
	over.Store(true)
	group.Wait()
	client.Close()
	c.waitUntilWhole()

	var answered, pending, never int64
	for _, own := range counters {
		slot := c.servers[0].must("CLUSTER", "KEYSLOT", own.key).(int64)
		text, _ := c.owner(slot).must("GET", own.key).(string)
		value, _ := strconv.ParseInt(text, 10, 64)
		if err := own.learn(value, 0); err != nil {
			t.Errorf("in the end: %v", err)
		}
		answered, pending, never = answered+own.answered, pending+own.pending, never+own.never
	}
	if answered == 0 {
		t.Error("no call was answered")
	}
	// All rounds have been seen once: what they need is there.
	first, last := measured[len(rounds)-1], measured[len(measured)-1]
	if last.memory > first.memory+moreMemory || last.threads > first.threads+moreThreads {
		t.Errorf("it grows: %v after the first rounds, %v after the last", first, last)
	}
	end := measure(t)
	if end.descriptors > first.descriptors+moreDescriptors {
		t.Errorf("descriptors are left: %v after the first rounds, %v in the end", first, end)
	}
	fmt.Printf("soak: %d calls answered, %d without an answer never ran, %d not executed; %v\n", answered, pending, never, done)
	fmt.Printf("soak: %v after the first rounds, %v after the last, %v when the clients are closed\n", first, last, end)
}
