// Calls in every form while somebody empties the script cache all the time: none meets NOSCRIPT, none runs twice,
// none overtakes another of its key.

package rsscript_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

// flushAlways has the script cache emptied in a tight loop until the test stops it.
func (s *server) flushAlways(t testing.TB) (stop func()) {
	t.Helper()
	conn, err := net.Dial(s.network, s.address)
	if err != nil {
		t.Fatal(err)
	}
	var stopped atomic.Bool
	ended := make(chan error, 1)
	go func() {
		replies := bufio.NewReader(conn)
		for !stopped.Load() {
			if _, err := conn.Write([]byte("SCRIPT FLUSH\r\n")); err != nil {
				ended <- err
				return
			}
			if line, err := replies.ReadString('\n'); err != nil || line != "+OK\r\n" {
				ended <- fmt.Errorf("SCRIPT FLUSH: %q, %v", line, err)
				return
			}
		}
		ended <- nil
	}()
	return func() {
		t.Helper()
		stopped.Store(true)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		conn.Close()
	}
}

// With RS_SCRIPT_LONG=1 a million calls in each form.
func TestAMillionCallsInEveryFormUnderFlushes(t *testing.T) {
	const callers, keysOfEach = 8, 10
	calls := 10_000
	if os.Getenv("RS_SCRIPT_LONG") == "1" {
		calls = 1_000_000
	}
	// It writes only if it is the next call of its key.
	const source = `if redis.call('INCR', KEYS[1]) ~= tonumber(ARGV[1]) then return redis.error_reply('MINE out of order or twice') end return 1`
	forms := []struct {
		name string
		// round makes a call for each key, and gives what came of it.
		round func(client *rsscript.Client, script *rsscript.Script, keys []string, number int) ([]rsscript.Result, error)
	}{
		{"single", func(_ *rsscript.Client, script *rsscript.Script, keys []string, number int) (results []rsscript.Result, err error) {
			for _, key := range keys {
				results = append(results, script.Call(ctx, []string{key}, number))
			}
			return results, nil
		}},
		{"pipeline", func(client *rsscript.Client, script *rsscript.Script, keys []string, number int) ([]rsscript.Result, error) {
			return fill(client.Pipeline(), script, keys, number).Exec(ctx)
		}},
		{"transaction", func(client *rsscript.Client, script *rsscript.Script, keys []string, number int) ([]rsscript.Result, error) {
			return fill(client.Transaction(), script, keys, number).Exec(ctx)
		}},
	}
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			server := ownServer(t)
			client := open(t, server.url)
			stop := server.flushAlways(t)
			rounds := calls / callers / keysOfEach
			var wg sync.WaitGroup
			for caller := range callers {
				wg.Add(1)
				go func() {
					defer wg.Done()
					script := client.Script(fmt.Sprintf("%s -- %d", source, caller))
					keys := make([]string, keysOfEach)
					for i := range keys {
						keys[i] = fmt.Sprintf("%d:%d", caller, i)
					}
					for number := 1; number <= rounds; number++ {
						results, err := form.round(client, script, keys, number)
						if err != nil {
							t.Errorf("round %d: %v", number, err)
							return
						}
						for i, result := range results {
							if got, err := result.Int64(); got != 1 || err != nil {
								t.Errorf("call %d of %s: %v, %v", number, keys[i], got, err)
								return
							}
						}
					}
				}()
			}
			wg.Wait()
			stop()
			for caller := range callers {
				for i := range keysOfEach {
					check(t, int64(rounds))(client.Do(ctx, "GET", fmt.Sprintf("%d:%d", caller, i)).Int64())
				}
			}
		})
	}
}

func fill(pipeline *rsscript.Pipeline, script *rsscript.Script, keys []string, number int) *rsscript.Pipeline {
	for _, key := range keys {
		pipeline.Call(script, []string{key}, number)
	}
	return pipeline
}
