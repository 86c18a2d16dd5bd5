// What scripts/demo --go shows: one script, two servers, a lost cache, a pipeline, a transaction, a function, two
// errors and a call that happens once, with the round trips that each step took.
//
//	demo URL URL
//
// It sets the keys foo, visits, count and orders on the first server and foo on the second, and empties the first
// one's script cache and its libraries.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

var (
	ctx         = context.Background()
	bold, plain string
)

func title(text string) { fmt.Printf("\n%s%s%s\n", bold, text, plain) }

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func expect(result rsscript.Result, want int64) {
	value, err := result.Int64()
	check(err)
	if value != want {
		fmt.Fprintf(os.Stderr, "demo: %d should have been %d\n", value, want)
		os.Exit(1)
	}
}

func open(url string) *rsscript.Client {
	client, err := rsscript.Open(ctx, url)
	check(err)
	return client
}

// A step: what is done, the value that the server gave, and what it cost.
type step struct {
	client *rsscript.Client
	before rsscript.Stats
}

func begin(client *rsscript.Client, what string) step {
	fmt.Printf("  %-32s ", what)
	return step{client, client.Stats()}
}

func (s step) trips() uint64 { return s.client.Stats().RoundTrips - s.before.RoundTrips }

func (s step) endWithNote(value, note string) {
	trips, plural, gap := s.trips(), "s", "   "
	if trips == 1 {
		plural, gap = "", "    "
	}
	if note == "" {
		gap = ""
	}
	fmt.Printf("%-8s  %d round trip%s%s%s\n", value, trips, plural, gap, note)
}

func (s step) end(value string) {
	now, note := s.client.Stats(), ""
	switch {
	case now.NoScriptRepairs != s.before.NoScriptRepairs:
		note = "EVALSHA meets NOSCRIPT; SCRIPT LOAD and EVALSHA in one write"
	case now.ScriptLoads != s.before.ScriptLoads:
		note = "SCRIPT LOAD and EVALSHA in one write"
	}
	s.endWithNote(value, note)
}

func (s step) endWithReply(result rsscript.Result) {
	check(result.Err())
	text, err := result.Text()
	if result.IsNil() {
		text, err = "nil", nil
	}
	check(err)
	s.end(text)
}

func setFoo(client *rsscript.Client, value string) {
	step := begin(client, "SET foo "+value)
	step.endWithReply(client.Do(ctx, "SET", "foo", value))
}

func multiplyFoo(multiply *rsscript.Script, client *rsscript.Client, product int64) {
	step := begin(client, "multiply foo by 5")
	result := multiply.On(client).Call(ctx, []string{"foo"}, 5)
	step.endWithReply(result)
	expect(result, product)
}

// setAndMultiply is SET foo 5 and the multiplication by 5, as one pipeline or transaction.
func setAndMultiply(
	client *rsscript.Client, pipeline *rsscript.Pipeline, multiply *rsscript.Script,
	what string, trips uint64, note string,
) {
	step := begin(client, what)
	results, err := pipeline.Do("SET", "foo", 5).Call(multiply, []string{"foo"}, 5).Exec(ctx)
	check(err)
	for _, result := range results {
		check(result.Err())
	}
	first, err := results[0].Text()
	check(err)
	expect(results[1], 25)
	step.endWithNote(fmt.Sprintf("[%s, %v]", first, results[1]), note)
	if step.trips() != trips {
		fmt.Fprintf(os.Stderr, "demo: that should have taken %d\n", trips)
		os.Exit(1)
	}
}

func flushScripts(client *rsscript.Client, what string) {
	step := begin(client, what)
	check(client.ScriptFlush(ctx, rsscript.FlushSync))
	step.end("OK")
}

func showError(err error) {
	var failure *rsscript.Error
	if !errors.As(err, &failure) {
		check(fmt.Errorf("this should have been an error of the call: %v", err))
	}
	executed := "executed up to that point"
	switch {
	case failure.Indeterminate:
		executed = "indeterminate: nobody on this side can know whether it was executed"
	case failure.NotExecuted:
		executed = "not executed"
	}
	fmt.Printf("%v\n    %v\n    %s\n", failure.Status, failure, executed)
}

func failInTheScript(multiply *rsscript.Script) {
	fmt.Printf("  %-32s ", "multiply a key that is not there")
	showError(multiply.Call(ctx, []string{"no such key"}, 5).Err())
}

func missADeadline(client *rsscript.Client) {
	slow := client.Script("redis.call('SET', KEYS[1], 1) for i = 1, 5e7 do end return 'done'")
	hurried, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	fmt.Printf("  %-32s ", "a slow script, a 50 ms deadline")
	showError(slow.Call(hurried, []string{"count"}).Err())

	fmt.Println("  Was it executed? Ask for what it writes; its late reply is given to no other call:")
	step := begin(client, "GET count, on the same client")
	step.endWithReply(client.Do(ctx, "GET", "count"))
}

// callAFunction registers a library, and never deploys it.
func callAFunction(client, other *rsscript.Client) {
	library := client.Library("#!lua name=demo\n" +
		"redis.register_function('visit', function(keys) return redis.call('INCR', keys[1]) end)")
	visit := library.Function("visit")
	fmt.Printf("  its name on servers: %s\n", visit.FunctionName())
	call := func(number int64, note string) {
		step := begin(client, "call its function visit")
		result := visit.Call(ctx, []string{"visits"})
		expect(result, number)
		step.endWithNote(fmt.Sprint(number), note)
	}
	call(1, "FUNCTION LOAD and FCALL in one write")
	call(2, "")
	step := begin(other, "FUNCTION FLUSH, by somebody else")
	check(other.Do(ctx, "FUNCTION", "FLUSH").Err())
	step.endWithNote("OK", "")
	call(3, "FCALL misses it; both in one write")
}

// surviveALostReply makes a call whose reply comes after the deadline, and is lost to its caller: who asks again with
// the token gets it, and nothing runs twice.
func surviveALostReply(client, other *rsscript.Client) {
	order := client.Script("for i = 1, 5e7 do end return redis.call('INCR', KEYS[1])", rsscript.Once{})
	job, orders := rsscript.CallOptions{Token: fmt.Sprint("order ", time.Now().UnixNano())}, []string{"orders"}
	hurried, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	fmt.Printf("  %-32s ", "a slow one, a 50 ms deadline")
	showError(order.CallWith(hurried, job, orders).Err())
	step := begin(other, "again with its token, elsewhere")
	result := order.On(other).CallWith(ctx, job, orders)
	expect(result, 1)
	step.end("1")
	step = begin(client, "GET orders")
	expect(client.Do(ctx, "GET", "orders"), 1)
	step.endWithNote("1", "it ran once")
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: demo URL URL")
		os.Exit(2)
	}
	info, err := os.Stdout.Stat()
	if _, plainWanted := os.LookupEnv("NO_COLOR"); err == nil && info.Mode()&os.ModeCharDevice != 0 && !plainWanted {
		bold, plain = "\033[1m", "\033[0m"
	}
	first, second, other := open(os.Args[1]), open(os.Args[2]), open(os.Args[1])
	defer first.Close()
	defer second.Close()
	defer other.Close()
	multiply := first.Script("return redis.call('GET', KEYS[1]) * ARGV[1]")
	neverLoaded := first.Script("return ARGV[1] * redis.call('GET', KEYS[1])")
	brandNew := first.Script("local n = redis.call('GET', KEYS[1]) return n * ARGV[1]")
	const inside = "SCRIPT LOAD inside MULTI, all in one write"
	check(first.Do(ctx, "DEL", "visits", "orders").Err())
	fmt.Printf(
		"multiply is: return redis.call('GET', KEYS[1]) * ARGV[1]\n  its SHA1, known before any call: %s\n",
		multiply.SHA())

	title("One server")
	setFoo(first, "2")
	multiplyFoo(multiply, first, 10)
	multiplyFoo(multiply, first, 10)

	title("A second server, the same script")
	setFoo(second, "3")
	multiplyFoo(multiply, second, 15)

	title("The first server loses its script cache")
	flushScripts(other, "SCRIPT FLUSH, by somebody else")
	multiplyFoo(multiply, first, 10)
	multiplyFoo(multiply, first, 10)

	title("A pipeline: SET foo 5, and a script that was never loaded, sent together")
	setAndMultiply(first, first.Pipeline(), neverLoaded, "SET foo 5, multiply foo by 5", 1,
		"SCRIPT LOAD, SET and EVALSHA in one write")
	setAndMultiply(first, first.Pipeline(), neverLoaded, "the same again", 1, "")

	title("A transaction: the same between MULTI and EXEC, and the scripts are lost again")
	flushScripts(other, "SCRIPT FLUSH, by somebody else")
	setAndMultiply(first, first.Transaction(), neverLoaded, "SET foo 5, multiply foo by 5", 1, inside)
	setAndMultiply(first, first.Transaction(), neverLoaded, "the same again", 1, inside)
	setAndMultiply(first, first.Transaction(), brandNew, "with a script's very first use", 2,
		"it has to compile before it may enter a MULTI")
	setAndMultiply(first, first.Transaction(), brandNew, "the same again", 1, inside)

	title("A function of a library that nobody deploys")
	callAFunction(first, other)

	title("Errors say what happened")
	failInTheScript(multiply)
	missADeadline(first)
	multiplyFoo(multiply, first, 25)

	title("A call that happens once survives the loss of its reply")
	surviveALostReply(first, other)
}
