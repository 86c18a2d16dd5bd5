package rstest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
	"github.com/rs-script/rs_script/bindings/go/rstest"
)

var ctx = context.Background()

// reserve is a program's own function that is under test.
func reserve(ctx context.Context, client *rsscript.Client, item string) (string, error) {
	script := client.Script("return redis.call('DECR', KEYS[1])", rsscript.Name("reserve"))
	left, err := script.Call(ctx, []string{item}, 1).Int64()
	switch {
	case errors.Is(err, rsscript.ErrIndeterminate):
		return "perhaps", nil
	case err != nil:
		return "", err
	case left < 0:
		return "sold out", nil
	}
	return "reserved", nil
}

func TestReserve(t *testing.T) {
	for want, answer := range map[string]any{"reserved": 0, "sold out": -1, "perhaps": rstest.LostReply()} {
		client := rstest.Open(t, func(call *rstest.Call) any { return answer })
		if got, err := reserve(ctx, client, "chair"); got != want || err != nil {
			t.Error(got, want, err)
		}
	}
}

// What stands in front of a call, and in front of a library's source, is none of it.
func TestWhatRoutedCallsAndLibrariesSay(t *testing.T) {
	var got []*rstest.Call
	client := rstest.Open(t, func(call *rstest.Call) any {
		got = append(got, call)
		return map[string]any{}
	})
	const source = "#!lua name=a\nredis.register_function('f', function() return 1 end)"
	library := client.Library(source, rsscript.Once{Prefix: "p:", Lifetime: time.Hour})
	routed := rsscript.CallOptions{ReadOnly: true, ReadFrom: rsscript.Replica, Route: rsscript.RouteKey("b")}
	client.DoWith(ctx, routed, "GET", "k")
	library.Function("f").CallWith(ctx, routed, []string{"a"}, "x")
	client.Pipeline().Do("GET", "k").ExecWith(ctx, rsscript.CallOptions{Route: rsscript.RouteSlot(5)})
	client.LibraryLoad(ctx, library)
	client.LibraryDeploy(ctx, library)
	client.LibraryCheck(ctx, library)
	client.LibraryPrune(ctx, library)
	var said []string
	for _, call := range got {
		said = append(said, fmt.Sprintf("%q %q %q %v %d", call.Command, call.Keys, call.Args, call.ReadOnly, call.Count))
	}
	want := []string{
		`["GET" "k"] [] [] true 0`, `[] ["a"] ["x"] true 0`, `["GET" "k"] [] [] false 1`,
		fmt.Sprintf("%q [] [] false 0", []string{"FUNCTION", "LOAD", source}),
		fmt.Sprintf("%q [] [] false 0", []string{"FUNCTION", "LOAD", "REPLACE", source}),
		`["FUNCTION" "LIST" "WITHCODE"] [] [] false 0`, `["FUNCTION" "DELETE"] [] [] false 0`,
	}
	if !reflect.DeepEqual(said, want) {
		t.Fatalf("%q\n%q", said, want)
	}
}

func TestWhatACallSays(t *testing.T) {
	var got []*rstest.Call
	client := rstest.Open(t, func(call *rstest.Call) any {
		got = append(got, call)
		return rstest.Status("OK")
	})
	script := client.Script("return 1", rsscript.Name("one"))
	sha := script.SHA()
	client.Do(ctx, "SET", "k", 1)
	script.CallRO(ctx, []string{"a", "b"}, "x", 2)
	_, err := client.Transaction().Do("GET", "k").Call(client.Script("return 1"), nil).Exec(ctx)
	if err != nil {
		t.Fatal(err)
	}
	client.ScriptFlush(ctx, rsscript.FlushAsync)
	want := []*rstest.Call{
		{Command: []string{"SET", "k", "1"}},
		{Script: "one", SHA: sha, Source: "return 1", Keys: []string{"a", "b"}, Args: []string{"x", "2"}, ReadOnly: true},
		{Command: []string{"GET", "k"}, Count: 2, Atomic: true},
		{Script: sha, SHA: sha, Source: "return 1", Keys: []string{}, Args: []string{}, Index: 1, Count: 2, Atomic: true},
		{Command: []string{"SCRIPT", "FLUSH", "ASYNC"}},
	}
	for i, call := range want {
		if !reflect.DeepEqual(got[i], call) {
			t.Fatalf("%d: %+v, not %+v", i, got[i], call)
		}
	}
}

func TestReplies(t *testing.T) {
	digits, _ := new(big.Int).SetString("123456789012345678901", 10)
	for _, test := range []struct {
		reply any
		kind  rsscript.Kind
		shown string
	}{
		{nil, rsscript.KindNil, "nil"}, {5, rsscript.KindInteger, "5"}, {uint8(5), rsscript.KindInteger, "5"},
		{true, rsscript.KindBoolean, "true"},
		{2.5, rsscript.KindDouble, `"2.5"`}, {math.Inf(-1), rsscript.KindDouble, `"-inf"`},
		{math.Inf(1), rsscript.KindDouble, `"inf"`}, {math.NaN(), rsscript.KindDouble, `"nan"`},
		{uint64(math.MaxUint64), rsscript.KindBigNumber, `"18446744073709551615"`},
		{
			[]any{rsscript.Result{}, []any{rsscript.Result{}, "a"}, "b"}, rsscript.KindArray,
			`array[error(<nil>) array[error(<nil>) "a"] "b"]`,
		},
		{digits, rsscript.KindBigNumber, `"123456789012345678901"`},
		{"a\x00b", rsscript.KindString, `"a\x00b"`}, {[]byte("b"), rsscript.KindString, `"b"`},
		{json.RawMessage("b"), rsscript.KindString, `"b"`},
		{rstest.Status("OK"), rsscript.KindStatus, `"OK"`},
		{[]any{1, []string{"x"}, nil, errors.New("ERR no")}, rsscript.KindArray, `array[1 array["x"] nil error(ERR no)]`},
		{map[string]any{"b": 2, "a": []int{1}}, rsscript.KindMap, `map["a" array[1] "b" 2]`},
		{rstest.Result([]any{1, rstest.Result("in")}), rsscript.KindArray, `array[1 "in"]`},
	} {
		client := rstest.Open(t, func(*rstest.Call) any { return test.reply })
		for _, result := range []rsscript.Result{client.Do(ctx, "X"), rstest.Result(test.reply)} {
			if result.Kind() != test.kind || result.String() != test.shown {
				t.Errorf("%v: %v, %v", test.reply, result.Kind(), result)
			}
		}
	}
}

func TestWhatMayGoWrong(t *testing.T) {
	soon, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	for _, test := range []struct {
		answer                     any
		status                     rsscript.Status
		indeterminate, notExecuted bool
		also                       []error
	}{
		{rstest.NoScript(), rsscript.ErrNoScript, false, true, nil},
		{rstest.LostReply(), rsscript.ErrIndeterminate, true, false, nil},
		{
			rstest.Deadline(), rsscript.ErrIndeterminate, true, false,
			[]error{os.ErrDeadlineExceeded, context.DeadlineExceeded},
		},
		{rstest.NotSent(), rsscript.ErrConnect, false, true, nil},
		{errors.New("WRONGTYPE not that"), rsscript.ErrServer, false, false, nil},
		{&rsscript.Error{Status: rsscript.ErrBusy, NotExecuted: true}, rsscript.ErrBusy, false, true, nil},
	} {
		client := rstest.Open(t, func(*rstest.Call) any { return test.answer })
		result := client.Do(soon, "X")
		var err *rsscript.Error
		if !errors.As(result.Err(), &err) || !errors.Is(err, test.status) ||
			err.Indeterminate != test.indeterminate || err.NotExecuted != test.notExecuted {
			t.Fatalf("%+v", err)
		}
		if result.Kind() != rsscript.KindNone {
			t.Fatal(result.Kind())
		}
		for _, also := range test.also {
			if !errors.Is(err, also) {
				t.Fatal(err, also)
			}
		}
		if test.status == rsscript.ErrServer && err.ServerCode != "WRONGTYPE" {
			t.Fatal(err.ServerCode)
		}
	}
}

func TestPipelines(t *testing.T) {
	answers := map[string]any{}
	client := rstest.Open(t, func(call *rstest.Call) any { return answers[call.Command[0]] })
	exec := func(pipeline *rsscript.Pipeline) ([]rsscript.Result, *rsscript.Error) {
		results, failure := pipeline.Do("A").Do("B").Do("C").Exec(ctx)
		var err *rsscript.Error
		errors.As(failure, &err)
		return results, err
	}
	answers["A"], answers["B"] = 1, rstest.NoScript()
	results, err := exec(client.Pipeline())
	if err != nil || len(results) != 3 || !errors.Is(results[1].Err(), rsscript.ErrNoScript) || !results[2].IsNil() {
		t.Fatal(results, err)
	}
	var item *rsscript.Error
	if errors.As(results[1].Err(), &item); item.Index != 1 || !item.NotExecuted ||
		!strings.Contains(item.Message, "item 1 (B)") {
		t.Fatal(item)
	}
	for _, lost := range []any{rstest.LostReply(), rstest.NotSent()} {
		answers["B"] = lost
		if results, err = exec(client.Pipeline()); len(results) != 1 || !err.Indeterminate ||
			err.NotExecuted || err.Index != 1 {
			t.Fatal(results, err)
		}
		if results, err = exec(client.Transaction()); results != nil || !err.Indeterminate {
			t.Fatal(results, err)
		}
	}
	answers["A"] = rstest.NotSent()
	if results, err = exec(client.Pipeline()); len(results) != 0 || !err.NotExecuted || err.Status != rsscript.ErrConnect {
		t.Fatal(results, err)
	}
}

// A client that is closed while a pipeline is answered has had what came before executed.
func TestPipelinesWhoseClientIsClosed(t *testing.T) {
	for _, atomic := range []bool{false, true} {
		var client *rsscript.Client
		client = rstest.Open(t, func(call *rstest.Call) any {
			if call.Index == 1 {
				client.Close()
			}
			return call.Index
		})
		pipeline := client.Pipeline()
		if atomic {
			pipeline = client.Transaction()
		}
		results, failure := pipeline.Do("A").Do("B").Do("C").Exec(ctx)
		var err *rsscript.Error
		if !errors.As(failure, &err) || !errors.Is(err, rsscript.ErrIndeterminate) || err.NotExecuted || err.Index != 2 ||
			err.Reason != rsscript.ReasonClosed || (len(results) == 2) == atomic {
			t.Fatalf("%+v, %v", err, results)
		}
		results, failure = pipeline.Do("A").Exec(ctx)
		if !errors.As(failure, &err) || !errors.Is(err, rsscript.ErrClosed) || !err.NotExecuted || results != nil {
			t.Fatalf("%+v, %v", err, results)
		}
	}
}

// What a fake says of routes is told with the advice that such an error has, once.
func TestAdviceIsGivenOnce(t *testing.T) {
	client := rstest.Open(t, func(*rstest.Call) any {
		return &rsscript.Error{Status: rsscript.ErrNoRoute, Message: "nowhere", NotExecuted: true}
	})
	results, err := client.Pipeline().Do("X").Exec(ctx)
	if err != nil || strings.Count(results[0].Err().Error(), "WithRouteAll") != 1 {
		t.Fatal(results, err)
	}
}

func TestSilence(t *testing.T) {
	made := make(chan struct{}, 1)
	client := rstest.Open(t, func(call *rstest.Call) any {
		if call.Command[0] == "Y" {
			made <- struct{}{}
		}
		return rstest.Silence()
	})
	if err := client.Do(ctx, "X").Err(); !errors.Is(err, os.ErrDeadlineExceeded) ||
		!errors.Is(err, rsscript.ErrIndeterminate) {
		t.Fatal(err)
	}
	// Where the machine is busy a millisecond may be over before the call is made.
	var late context.Context
	for within := time.Millisecond; ; within *= 2 {
		var cancel context.CancelFunc
		late, cancel = context.WithTimeout(ctx, within)
		defer cancel()
		err := client.Do(late, "X").Err()
		if !errors.Is(err, context.DeadlineExceeded) || within > time.Minute {
			t.Fatal(err)
		}
		if errors.Is(err, rsscript.ErrIndeterminate) {
			break
		}
	}
	if err := client.Do(late, "X").Err(); !errors.Is(err, rsscript.ErrTimeout) {
		t.Fatal(err)
	}
	cancelled, cancelWith := context.WithCancelCause(ctx)
	mine := errors.New("mine")
	time.AfterFunc(time.Millisecond, func() { cancelWith(mine) })
	if err := client.Do(cancelled, "X").Err(); !errors.Is(err, context.Canceled) ||
		!errors.Is(err, mine) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	endless, end := context.WithCancel(ctx)
	defer end()
	go func() {
		<-made
		client.Close()
	}()
	var err *rsscript.Error
	if errors.As(client.Do(endless, "Y").Err(), &err); err.Reason != rsscript.ReasonClosed || !err.Indeterminate {
		t.Fatal(err)
	}
	if err := client.Do(ctx, "X").Err(); !errors.Is(err, rsscript.ErrClosed) {
		t.Fatal(err)
	}
}

func TestViewsAndOptions(t *testing.T) {
	hook := &counter{}
	client := rstest.Open(t, func(call *rstest.Call) any { return call.Command[0] },
		rsscript.WithHook(hook), rsscript.WithLazyConnect())
	view, err := client.WithRouteKey("k")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := view.Do(ctx, "PING").Text(); text != "PING" || err != nil {
		t.Fatal(text, err)
	}
	if client.Stats() != (rsscript.Stats{}) || hook.count != 1 {
		t.Fatal(hook.count)
	}
	_, unordered := client.Transaction().RepairUnordered().Do("PING").Exec(ctx)
	_, trusting := client.Pipeline().TrustCache().Do("PING").Exec(ctx)
	if !errors.Is(unordered, rsscript.ErrInvalidArgument) || !errors.Is(trusting, rsscript.ErrInvalidArgument) {
		t.Fatal(unordered, trusting)
	}
	if stats, err := client.ScriptStats(ctx); stats != nil || err != nil {
		t.Fatal(stats, err)
	}
	client.Close()
	client.Close()
	if _, err := client.ScriptStats(ctx); !errors.Is(err, rsscript.ErrClosed) {
		t.Fatal(err)
	}
}

type counter struct{ count int }

func (c *counter) Before(ctx context.Context, _ *rsscript.CallInfo) context.Context { return ctx }

func (c *counter) After(context.Context, *rsscript.CallInfo, *rsscript.Outcome) { c.count++ }

func ExampleOpen() {
	t := &testing.T{} // That of the test.
	client := rstest.Open(t, func(call *rstest.Call) any {
		switch {
		case call.Script == "reserve" && call.Keys[0] == "chair":
			return 4
		case call.Script == "reserve":
			return rstest.LostReply()
		}
		return errors.New("ERR unknown command")
	})
	script := client.Script("return redis.call('DECRBY', KEYS[1], ARGV[1])", rsscript.Name("reserve"))
	fmt.Println(script.Call(ctx, []string{"chair"}, 1).Int64())
	fmt.Println(errors.Is(script.Call(ctx, []string{"table"}, 1).Err(), rsscript.ErrIndeterminate))
	// Output:
	// 4 <nil>
	// true
}

func TestFunctionsAndTokens(t *testing.T) {
	var got []*rstest.Call
	client := rstest.Open(t, func(call *rstest.Call) any {
		got = append(got, call)
		if call.Command == nil {
			return 1
		}
		return map[string]any{"a": "same", "b": errors.New("NOPERM no")}
	})
	library := client.Library("#!lua name=lib\n")
	count, once := library.Function("count", rsscript.Name("count")), client.Script("return 1", rsscript.Once{})
	count.CallRO(ctx, []string{"n"})
	once.CallWith(ctx, rsscript.CallOptions{Token: "own"}, nil)
	_, err := client.Pipeline().Call(once, nil).CallWith(rsscript.CallOptions{Token: "own"}, once, nil).
		ExecWith(ctx, rsscript.CallOptions{Token: "all"})
	if err != nil {
		t.Fatal(err)
	}
	if call := got[0]; call.Script != "count" || call.Function != count.FunctionName() ||
		!call.ReadOnly || call.Token != "" {
		t.Fatalf("%+v", call)
	}
	for i, token := range []string{"own", "all", "own"} {
		if got[1+i].Token != token {
			t.Fatalf("%+v", got[1+i])
		}
	}
	told, err := client.LibraryDeploy(ctx, library)
	if err != nil || len(told) != 2 || told[0] != (rsscript.LibraryOnNode{Node: "a", State: rsscript.LibrarySame}) ||
		told[1].Node != "b" || told[1].State != "" || !errors.Is(told[1].Err, rsscript.ErrServer) {
		t.Fatal(told, err)
	}
	want := []string{"FUNCTION", "LOAD", "REPLACE", "#!lua name=lib\n"}
	if command := got[len(got)-1].Command; !reflect.DeepEqual(command, want) {
		t.Fatal(command)
	}
	for _, ask := range []func() error{
		func() error { _, err := client.LibraryLoad(ctx, library); return err },
		func() error { _, err := client.LibraryCheck(ctx, library); return err },
	} {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	// What is no list is an error, and no panic.
	if _, err := client.LibraryList(ctx); err == nil {
		t.Fatal("it is none")
	}
	if _, err := client.LibraryPrune(ctx, library); err == nil {
		t.Fatal("it is none")
	}
}
