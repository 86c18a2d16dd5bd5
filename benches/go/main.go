// Calls of the multiply script from Go, on a server at a loopback port: `go CLIENT PORT call GOROUTINES CALLS`, one
// by one from so many goroutines, and `go CLIENT PORT pipeline SIZE CALLS`, in pipelines from one. CLIENT is
// rs_script, rueidis or go-redis. Prints calls per second and microseconds of this process's CPU time per call.
//
// `go CLIENT PORT get MIB CALLS`: GETs of a string of so many MiB, which are read as Go strings, one by one. Prints
// milliseconds and CPU milliseconds of a call.
//
// `go rs_script PORT blocking COUNT SECONDS`: BLPOPs that wait so long at once. Prints seconds until all are
// answered, and errors. `go rs_script PORT cancel COUNT SECONDS`: calls whose one context is cancelled while the
// server pauses. Prints seconds until all have returned, and CPU seconds.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	rsscript "github.com/rs-script/rs_script/bindings/go"
)

const multiply = "return redis.call('GET', KEYS[1]) * ARGV[1]"

var (
	ctx  = context.Background()
	keys = []string{"foo"}
)

// peer is a client under measurement: call makes one call, pipeline so many together. foo is 2. get reads a string.
type peer struct {
	call     func()
	pipeline func(size int)
	get      func(key string) (string, error)
}

func check(product int64, err error) {
	if err != nil || product != 10 {
		log.Fatalf("%d, not 10: %v", product, err)
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func rsScript(address string) peer {
	client, err := rsscript.Open(ctx, "redis://"+address)
	must(err)
	must(client.Do(ctx, "SET", "foo", 2).Err())
	script := client.Script(multiply)
	return peer{
		call: func() { check(script.Call(ctx, keys, "5").Int64()) },
		pipeline: func(size int) {
			pipeline := client.Pipeline()
			for range size {
				pipeline.Call(script, keys, "5")
			}
			results, err := pipeline.Exec(ctx)
			must(err)
			for _, result := range results {
				check(result.Int64())
			}
		},
		get: func(key string) (string, error) { return client.Do(ctx, "GET", key).Text() },
	}
}

func ofRueidis(address string) peer {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}})
	must(err)
	must(client.Do(ctx, client.B().Set().Key("foo").Value("2").Build()).Error())
	script := rueidis.NewLuaScript(multiply)
	return peer{
		call: func() { check(script.Exec(ctx, client, keys, []string{"5"}).AsInt64()) },
		pipeline: func(size int) {
			executions := make([]rueidis.LuaExec, size)
			for i := range executions {
				executions[i] = rueidis.LuaExec{Keys: keys, Args: []string{"5"}}
			}
			for _, result := range script.ExecMulti(ctx, client, executions...) {
				check(result.AsInt64())
			}
		},
		get: func(key string) (string, error) { return client.Do(ctx, client.B().Get().Key(key).Build()).ToString() },
	}
}

func ofGoRedis(address string) peer {
	client := goredis.NewClient(&goredis.Options{Addr: address})
	must(client.Set(ctx, "foo", 2, 0).Err())
	script := goredis.NewScript(multiply)
	must(script.Load(ctx, client).Err())
	return peer{
		call: func() { check(script.Run(ctx, client, keys, "5").Int64()) },
		pipeline: func(size int) {
			pipeline := client.Pipeline()
			results := make([]*goredis.Cmd, size)
			for i := range results {
				results[i] = script.EvalSha(ctx, pipeline, keys, "5")
			}
			_, err := pipeline.Exec(ctx)
			must(err)
			for _, result := range results {
				check(result.Int64())
			}
		},
		get: func(key string) (string, error) { return client.Get(ctx, key).Result() },
	}
}

func measure(p peer, mode string, count, calls int) {
	if mode == "pipeline" {
		for range calls / count {
			p.pipeline(count)
		}
		return
	}
	var group sync.WaitGroup
	for range count {
		group.Add(1)
		go func() {
			defer group.Done()
			for range calls / count {
				p.call()
			}
		}()
	}
	group.Wait()
}

// blocking makes so many calls at once that wait on the server.
func blocking(address string, count, seconds int) {
	client, err := rsscript.Open(ctx, "redis://"+address)
	must(err)
	var failed atomic.Int64
	start := time.Now()
	at(count, func() {
		result := client.Do(ctx, "BLPOP", "empty", seconds)
		if result.Err() != nil || !result.IsNil() {
			failed.Add(1)
		}
	}).Wait()
	fmt.Println(time.Since(start).Seconds(), failed.Load())
}

// cancelling cancels so many calls at once; the server pauses for so long.
func cancelling(address string, count, seconds int) {
	client, err := rsscript.Open(ctx, "redis://"+address, rsscript.WithMaxInFlight(count+1))
	must(err)
	must(client.Do(ctx, "CLIENT", "PAUSE", seconds*1000, "ALL").Err())
	cancelled, cancel := context.WithCancel(ctx)
	group := at(count, func() {
		if err := client.Do(cancelled, "PING").Err(); !errors.Is(err, context.Canceled) {
			log.Fatal(err)
		}
	})
	for client.Stats().InFlight < uint64(count) {
		time.Sleep(time.Millisecond)
	}
	start, before := time.Now(), cpu()
	cancel()
	group.Wait()
	fmt.Println(time.Since(start).Seconds(), (cpu() - before).Seconds())
}

// getting reads a string of so many MiB so many times; the first two are not counted.
func getting(p peer, address string, mebibytes, calls int) {
	client, err := rsscript.Open(ctx, "redis://"+address)
	must(err)
	size := mebibytes << 20
	must(client.Do(ctx, "SETRANGE", "large", size-1, "x").Err())
	must(client.Close())
	get := func() {
		text, err := p.get("large")
		if err != nil || len(text) != size || text[size-1] != 'x' {
			log.Fatalf("%d bytes: %v", len(text), err)
		}
	}
	var start time.Time
	var before time.Duration
	for i := -2; i < calls; i++ {
		if i == 0 {
			start, before = time.Now(), cpu()
		}
		get()
	}
	made := float64(calls)
	fmt.Println(float64(time.Since(start).Microseconds())/1000/made, float64((cpu()-before).Microseconds())/1000/made)
}

func at(count int, call func()) *sync.WaitGroup {
	var group sync.WaitGroup
	for range count {
		group.Add(1)
		go func() {
			defer group.Done()
			call()
		}()
	}
	return &group
}

func cpu() time.Duration {
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func main() {
	if len(os.Args) != 6 {
		log.Fatal("usage: go CLIENT PORT call|pipeline|get|blocking|cancel COUNT|MIB CALLS|SECONDS")
	}
	peers := map[string]func(string) peer{"rs_script": rsScript, "rueidis": ofRueidis, "go-redis": ofGoRedis}
	count, err := strconv.Atoi(os.Args[4])
	must(err)
	calls, err := strconv.Atoi(os.Args[5])
	must(err)
	address := "127.0.0.1:" + os.Args[2]
	mode := os.Args[3]
	switch mode {
	case "blocking":
		blocking(address, count, calls)
		return
	case "cancel":
		cancelling(address, count, calls)
		return
	}
	client := peers[os.Args[1]](address)
	if mode == "get" {
		getting(client, address, count, calls)
		return
	}
	measure(client, mode, count, calls/10)
	start, before := time.Now(), cpu()
	measure(client, mode, count, calls)
	made := float64(calls / count * count)
	fmt.Println(made/time.Since(start).Seconds(), float64((cpu()-before).Nanoseconds())/1000/made)
}
