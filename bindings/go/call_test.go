// What calls give: every method, every type of reply, bytes of any kind, errors.

package rsscript_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
	"github.com/rs-script/rs_script/bindings/go/rstest"
)

var ctx = context.Background()

func check[T any](t testing.TB, want T) func(got T, err error) {
	t.Helper()
	return func(got T, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v, not %v", err, want)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%#v, not %#v", got, want)
		}
	}
}

func checkError(t testing.TB, err error, status rsscript.Status) *rsscript.Error {
	t.Helper()
	if !errors.Is(err, status) {
		t.Fatalf("%v, not %v", err, status)
	}
	var own *rsscript.Error
	if !errors.As(err, &own) {
		t.Fatalf("%T is no *Error", err)
	}
	return own
}

func TestCall(t *testing.T) {
	client := open(t, url)
	key := keyOf(t)
	check(t, "OK")(client.Do(ctx, "SET", key, 2).Text())
	multiply := client.Script("return redis.call('GET', KEYS[1]) * ARGV[1]")
	check(t, int64(10))(multiply.Call(ctx, []string{key}, 5).Int64())
	check(t, int64(10))(multiply.Call(ctx, []string{key}, "5").Int64())
	check(t, int64(10))(multiply.CallRO(ctx, []string{key}, 5).Int64())
	if multiply.SHA() != "62d38ddab5d72bf83d91cbab398b8bf73b2a1d16" {
		t.Fatal(multiply.SHA())
	}
}

func TestScriptOnAnotherClient(t *testing.T) {
	other := ownServer(t)
	client, second := open(t, url), open(t, other.url)
	key := keyOf(t)
	check(t, "OK")(second.Do(ctx, "SET", key, 3).Text())
	script := client.Script("return redis.call('GET', KEYS[1])")
	if result := script.Call(ctx, []string{key}); !result.IsNil() {
		t.Fatal(result)
	}
	check(t, int64(3))(script.On(second).Call(ctx, []string{key}).Int64())
}

func TestScriptNeedsNoServer(t *testing.T) {
	client := open(t, "unix:///no/such/socket", rsscript.WithLazyConnect(), rsscript.WithReconnectAttempts(1))
	script := client.Script("return 1")
	if len(script.SHA()) != 40 {
		t.Fatal(script.SHA())
	}
	err := checkError(t, script.Call(ctx, nil).Err(), rsscript.ErrConnect)
	if !err.NotExecuted || err.Indeterminate {
		t.Fatal(err)
	}
}

func TestEveryTypeOfReply(t *testing.T) {
	client := open(t, url, rsscript.WithProtocol(rsscript.RESP3))
	lua := func(source string) rsscript.Result {
		t.Helper()
		result := client.Script("redis.setresp(3) "+source).Call(ctx, nil)
		if result.Err() != nil {
			t.Fatal(result.Err())
		}
		return result
	}
	kind := func(result rsscript.Result, want rsscript.Kind) rsscript.Result {
		t.Helper()
		if result.Kind() != want {
			t.Fatalf("%v is %v, not %v", result, result.Kind(), want)
		}
		return result
	}
	least := client.Do(ctx, "EVAL", "return redis.call('INCRBY', KEYS[1], '-9223372036854775808')", 1, keyOf(t))
	check(t, int64(math.MinInt64))(kind(least, rsscript.KindInteger).Int64())
	check(t, "hello")(kind(lua("return 'hello'"), rsscript.KindString).Text())
	check(t, []byte("hello"))(lua("return 'hello'").Bytes())
	check(t, "fine")(kind(lua("return redis.status_reply('fine')"), rsscript.KindStatus).Text())
	if !kind(lua("return nil"), rsscript.KindNil).IsNil() {
		t.Fatal("not nil")
	}
	check(t, 2.5)(kind(lua("return {double = 2.5}"), rsscript.KindDouble).Float64())
	check(t, "2.5")(lua("return {double = 2.5}").Text())
	check(t, true)(kind(lua("return true"), rsscript.KindBoolean).Bool())
	check(t, false)(kind(lua("return false"), rsscript.KindBoolean).Bool())
	digits := "12345678901234567890123"
	big, _ := new(big.Int).SetString(digits, 10)
	check(t, big)(kind(lua("return {big_number = '"+digits+"'}"), rsscript.KindBigNumber).BigInt())
	verbatim := kind(lua("return {verbatim_string = {format = 'mkd', string = '*hi*'}}"), rsscript.KindVerbatim)
	check(t, "*hi*")(verbatim.Text())
	if verbatim.VerbatimFormat() != "mkd" || verbatim.Len() != 4 {
		t.Fatal(verbatim)
	}
	set, err := kind(lua("return {set = {a = true}}"), rsscript.KindSet).Strings()
	check(t, []string{"a"})(set, err)
	values, err := kind(lua("return {map = {a = 1}}"), rsscript.KindMap).Map()
	if err != nil || len(values) != 1 {
		t.Fatal(values, err)
	}
	check(t, int64(1))(values["a"].Int64())

	nested := kind(lua("return {1, 'two', {3, {4, {}}}, redis.error_reply('MINE is mine'), false, "+
		"{double = 1.5}, {map = {k = {'v'}}}}"), rsscript.KindArray)
	elements, err := nested.Slice()
	if err != nil || len(elements) != 7 || nested.Len() != 7 {
		t.Fatal(nested, err)
	}
	check(t, int64(1))(elements[0].Int64())
	check(t, "two")(elements[1].Text())
	inner, _ := elements[2].Slice()
	check(t, int64(3))(inner[0].Int64())
	if len(inner) != 2 || inner[1].Len() != 2 {
		t.Fatal(nested)
	}
	own := checkError(t, elements[3].Err(), rsscript.ErrServer)
	if own.ServerCode != "MINE" || elements[3].Kind() != rsscript.KindError {
		t.Fatal(own)
	}
	if _, err := elements[3].Int64(); !errors.Is(err, rsscript.ErrServer) {
		t.Fatal(err)
	}
	check(t, false)(elements[4].Bool())
	check(t, 1.5)(elements[5].Float64())
	deep, err := elements[6].Map()
	check(t, []string{"v"})(deep["k"].Strings())
	if err != nil {
		t.Fatal(err)
	}
	want := `array[1 "two" array[3 array[4 array[]]] error(` + own.Error() + `) false "1.5" map["k" array["v"]]]`
	if text := nested.String(); text != want {
		t.Fatal(text)
	}
}

func TestRESP2(t *testing.T) {
	client := open(t, url, rsscript.WithProtocol(rsscript.RESP2))
	key := keyOf(t)
	client.Do(ctx, "HSET", key, "a", 1, "b", "two")
	values, err := client.Do(ctx, "HGETALL", key).Map()
	if err != nil || len(values) != 2 {
		t.Fatal(values, err)
	}
	check(t, int64(1))(values["a"].Int64())
	check(t, "two")(values["b"].Text())
	check(t, false)(client.Script("return false").Call(ctx, nil).Bool())
	check(t, true)(client.Script("return true").Call(ctx, nil).Bool())
}

func TestBytesAreBytes(t *testing.T) {
	client := open(t, url)
	key := keyOf(t) + "\x00\xff\r\n"
	echo := client.Script("return {KEYS[1], ARGV[1], ARGV[2], #ARGV[3], ARGV[4]}")
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	result := echo.Call(ctx, []string{key}, every, string(every), "", []byte(nil))
	elements, err := result.Slice()
	if err != nil {
		t.Fatal(err)
	}
	check(t, key)(elements[0].Text())
	check(t, every)(elements[1].Bytes())
	check(t, string(every))(elements[2].Text())
	check(t, int64(0))(elements[3].Int64())
	check(t, "")(elements[4].Text())
	check(t, []byte{})(elements[4].Bytes())
	check(t, []string{})(client.Script("return {}").Call(ctx, nil).Strings())
	if result := client.Script("").Call(ctx, nil); !result.IsNil() {
		t.Fatal(result)
	}
	check(t, "\x00")(client.Script("return '\x00'").Call(ctx, nil).Text())
}

func TestLargeReplies(t *testing.T) {
	client := open(t, url)
	for _, size := range []int{1 << 10, 256<<10 - 40, 256 << 10, 300 << 10, 20 << 20} {
		text := strings.Repeat("x", size)
		got, err := client.Script("return ARGV[1]").Call(ctx, nil, text).Text()
		if err != nil || got != text {
			t.Fatal(size, len(got), err)
		}
	}
	numbers, err := client.Script("local a = {} for i = 1, 100000 do a[i] = i end return a").Call(ctx, nil).Slice()
	if err != nil || len(numbers) != 100000 {
		t.Fatal(len(numbers), err)
	}
	check(t, int64(100000))(numbers[99999].Int64())
}

type money struct{ cents int }

func (m money) MarshalBinary() ([]byte, error) {
	if m.cents < 0 {
		return nil, errors.New("in debt")
	}
	return fmt.Appendf(nil, "%d.%02d", m.cents/100, m.cents%100), nil
}

// stamp has the MarshalBinary of its time.Time, deeperStamp that of its stamp; day and year have their own.
type (
	stamp       struct{ time.Time }
	deeperStamp struct{ stamp }
	day         struct{ time.Time }
	year        struct{ stamp }
)

func (day) MarshalBinary() ([]byte, error)     { return []byte("day"), nil }
func (y *year) MarshalBinary() ([]byte, error) { return y.AppendFormat(nil, "2006"), nil }

func TestArguments(t *testing.T) {
	client := open(t, url)
	key := "a pointer"
	echo := client.Script("return ARGV")
	result := echo.Call(ctx, nil, "s", []byte("b"), -1, int8(-2), int16(-3), int32(-4), int64(math.MinInt64),
		uint(1), uint8(2), uint16(3), uint32(4), uint64(math.MaxUint64), 1.5, float32(0.1), 1e300, true, false, money{123})
	check(t, []string{"s", "b", "-1", "-2", "-3", "-4", "-9223372036854775808", "1", "2", "3", "4", "18446744073709551615",
		"1.5", "0.1", "1e+300", "1", "0", "1.23"})(result.Strings())

	// Types that are made of these.
	type word string
	type raw []byte
	type flag bool
	type share float32
	result = echo.Call(ctx, nil, word("w"), raw("r"), time.Saturday, flag(true),
		share(0.1), json.RawMessage("{}"), slog.LevelWarn)
	check(t, []string{"w", "r", "6", "1", "0.1", "{}", "4"})(result.Strings())

	now := time.Now()
	check(t, []string{"day", "1970"})(echo.Call(ctx, nil, day{now}, &year{stamp{time.Unix(0, 0)}}).Strings())
	for wrong, advice := range map[any]string{
		stamp{now}: "UnixMilli", stamp{time.Time{}}: "UnixMilli", deeperStamp{stamp{now}}: "UnixMilli",
		&deeperStamp{stamp{now}}: "UnixMilli",
		nil:                      `""`, now: "UnixMilli", &now: "UnixMilli", time.Second: "Milliseconds",
		(*money)(nil): "nil", (*time.Time)(nil): "nil",
	} {
		err := checkError(t, echo.Call(ctx, nil, wrong).Err(), rsscript.ErrInvalidArgument)
		if !strings.Contains(err.Message, advice) {
			t.Fatal(err)
		}
	}
	for _, wrong := range []any{
		nil, struct{}{}, []string{"a"}, map[string]int{}, time.Second, complex(1, 1), money{-1}, (*int)(nil),
		time.Now(), &key, errors.New("x"),
	} {
		before := client.Stats().Calls
		err := checkError(t, echo.Call(ctx, nil, "fine", wrong).Err(), rsscript.ErrInvalidArgument)
		if !err.NotExecuted || !strings.Contains(err.Message, "argument 1") || client.Stats().Calls != before {
			t.Fatal(err)
		}
		checkError(t, client.Do(ctx, "PING", wrong).Err(), rsscript.ErrInvalidArgument)
		_, failure := client.Pipeline().Do("PING").Do(wrong).Exec(ctx)
		checkError(t, failure, rsscript.ErrInvalidArgument)
	}
	checkError(t, client.Do(ctx).Err(), rsscript.ErrInvalidArgument)
	check(t, "PONG")(client.Do(ctx, "PING").Text())
}

func TestWrongTypes(t *testing.T) {
	client := open(t, url)
	text := client.Script("return 'text'").Call(ctx, nil)
	none := client.Script("return nil").Call(ctx, nil)
	list := client.Script("return {1, 2, 3}").Call(ctx, nil)
	for name, ask := range map[string]func(rsscript.Result) error{
		"Int64":   func(r rsscript.Result) error { _, err := r.Int64(); return err },
		"Float64": func(r rsscript.Result) error { _, err := r.Float64(); return err },
		"BigInt":  func(r rsscript.Result) error { _, err := r.BigInt(); return err },
		"Slice":   func(r rsscript.Result) error { _, err := r.Slice(); return err },
		"Strings": func(r rsscript.Result) error { _, err := r.Strings(); return err },
		"Map":     func(r rsscript.Result) error { _, err := r.Map(); return err },
	} {
		err := ask(text)
		var wrong *rsscript.TypeError
		if !errors.As(err, &wrong) || wrong.Kind != rsscript.KindString || errors.Is(err, rsscript.ErrNil) {
			t.Fatal(name, err)
		}
		if err := ask(none); !errors.Is(err, rsscript.ErrNil) {
			t.Fatal(name, err)
		}
	}
	if _, err := text.Bool(); err == nil || err.Error() != "rsscript: the reply is a string, not a boolean" {
		t.Fatal(err)
	}
	if _, err := none.Text(); !errors.Is(err, rsscript.ErrNil) {
		t.Fatal(err)
	}
	if _, err := list.Text(); err == nil || err.Error() != "rsscript: the reply is an array, not a string" {
		t.Fatal(err)
	}
	if _, err := list.Map(); err == nil {
		t.Fatal("three elements are no map")
	}
}

func TestScriptErrors(t *testing.T) {
	client := open(t, url)
	err := checkError(t, client.Script("return redis.call('NOSUCH')").Call(ctx, nil).Err(), rsscript.ErrServer)
	if err.ServerCode != "ERR" || err.Indeterminate || err.NotExecuted {
		t.Fatalf("%+v", err)
	}
	err = checkError(t, client.Script("return redis.error_reply('MINE it is')").Call(ctx, nil).Err(), rsscript.ErrServer)
	if err.ServerCode != "MINE" {
		t.Fatalf("%+v", err)
	}
	err = checkError(t, client.Script("this is no Lua").Call(ctx, nil).Err(), rsscript.ErrCompile)
	if !err.NotExecuted {
		t.Fatalf("%+v", err)
	}
	err = checkError(t, client.Script("#!lua\nreturn 1").CallRO(ctx, nil).Err(), rsscript.ErrNotReadOnly)
	if !err.NotExecuted {
		t.Fatalf("%+v", err)
	}
	writes := client.Script("return redis.call('SET', KEYS[1], 1)")
	checkError(t, writes.CallRO(ctx, []string{keyOf(t)}).Err(), rsscript.ErrServer)
	err = checkError(t, client.Do(ctx, "MULTI").Err(), rsscript.ErrCommandRefused)
	if !err.NotExecuted {
		t.Fatalf("%+v", err)
	}
	if rsscript.ErrNoScript.Error() != "RS_ERR_NOSCRIPT" || errors.Is(err, rsscript.ErrNoScript) {
		t.Fatal(rsscript.ErrNoScript.Error())
	}
}

func TestScriptAdministration(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url)
	one, two := client.Script("return 1"), client.Script("return 2")
	check(t, []bool{false, false})(client.ScriptExists(ctx, one.SHA(), two.SHA()))
	if err := client.ScriptLoad(ctx, one); err != nil {
		t.Fatal(err)
	}
	check(t, []bool{true, false})(client.ScriptExists(ctx, one.SHA(), two.SHA()))
	for _, mode := range []rsscript.FlushMode{rsscript.FlushSync, rsscript.FlushAsync, rsscript.FlushDefault} {
		if err := client.ScriptFlush(ctx, mode); err != nil {
			t.Fatal(err)
		}
	}
	check(t, []bool{false})(client.ScriptExists(ctx, one.SHA()))
	check(t, []bool(nil))(client.ScriptExists(ctx))
	check(t, []bool{false})(client.ScriptExists(ctx, "abc"))
	checkError(t, client.ScriptFlush(ctx, 7), rsscript.ErrInvalidArgument)
	checkError(t, client.ScriptLoad(ctx, client.Script("no Lua")), rsscript.ErrCompile)
	if err := checkError(t, client.ScriptKill(ctx), rsscript.ErrServer); err.ServerCode != "NOTBUSY" {
		t.Fatal(err)
	}
}

func TestScriptShow(t *testing.T) {
	valkey, err := startProgram(program(t, "valkey-8.1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(valkey.stop)
	client := open(t, valkey.url)
	for _, source := range []string{"return 1", "return '\x00\xff'", "-- " + strings.Repeat("long ", 100_000)} {
		script := client.Script(source)
		if err := client.ScriptLoad(ctx, script); err != nil {
			t.Fatal(err)
		}
		check(t, source)(client.ScriptShow(ctx, script.SHA()))
		check(t, source)(client.ScriptShow(ctx, strings.ToUpper(script.SHA())))
	}
	source, err := client.ScriptShow(ctx, strings.Repeat("0", 40))
	if source != "" || !errors.Is(err, rsscript.ErrNil) {
		t.Fatal(source, err)
	}
	if _, err = client.ScriptShow(ctx, "abc"); !errors.Is(err, rsscript.ErrNil) {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	valkey.mustRaw(t, "CLIENT PAUSE 60000 ALL")
	result := make(chan error, 1)
	go func() {
		_, err := client.ScriptShow(cancelled, client.Script("return 1").SHA())
		result <- err
	}()
	eventually(t, "it is in flight", func() bool { return client.Stats().InFlight == 1 })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}

	_, err = open(t, url).ScriptShow(ctx, strings.Repeat("0", 40))
	if err := checkError(t, err, rsscript.ErrNotSupported); !err.NotExecuted ||
		!strings.Contains(err.Message, "Valkey 8") {
		t.Fatal(err)
	}
}

func TestLostScriptsAreLoadedAgain(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url)
	script := client.Script("return 7")
	for range 3 {
		check(t, int64(7))(script.Call(ctx, nil).Int64())
		server.mustRaw(t, "SCRIPT FLUSH")
	}
	check(t, int64(7))(script.Call(ctx, nil).Int64())
	if stats := client.Stats(); stats.NoScriptRepairs != 3 {
		t.Fatalf("%+v", stats)
	}
}

func TestScriptKill(t *testing.T) {
	server := ownServer(t, "--lua-time-limit", "10")
	client := open(t, server.url)
	other := client.Script("return 'another'")
	for range 3 {
		busy := make(chan error, 1)
		go func() { busy <- client.Script("while true do end").Call(ctx, nil).Err() }()
		eventually(t, "the server is busy", func() bool {
			line, err := server.raw("PING")
			return err == nil && strings.HasPrefix(line, "-BUSY")
		})
		// They wait for the script that is to be killed, and the kill not for them.
		loaded := make(chan error, 100)
		before := client.Stats().InFlight
		for range cap(loaded) {
			go func() { loaded <- client.ScriptLoad(ctx, other) }()
		}
		eventually(t, "scripts are being loaded", func() bool { return client.Stats().InFlight > before+8 })
		if err := client.ScriptKill(ctx); err != nil {
			t.Fatal(err)
		}
		checkError(t, <-busy, rsscript.ErrServer)
		for range cap(loaded) {
			if err := <-loaded; err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestPipeline(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url)
	key := keyOf(t)
	get, fails := client.Script("return redis.call('GET', KEYS[1])"), client.Script("return redis.call('NOSUCH')")
	pipeline := client.Pipeline()
	for range 2 {
		before := client.Stats().RoundTrips
		results, err := pipeline.Do("SET", key, "a\x00b").Call(get, []string{key}).Call(fails, nil).
			CallRO(get, []string{key}).Do("INCR", key).Exec(ctx)
		if err != nil || len(results) != 5 || client.Stats().RoundTrips != before+1 {
			t.Fatal(results, err)
		}
		check(t, "OK")(results[0].Text())
		check(t, "a\x00b")(results[1].Text())
		checkError(t, results[2].Err(), rsscript.ErrServer)
		check(t, "a\x00b")(results[3].Text())
		checkError(t, results[4].Err(), rsscript.ErrServer)
	}
	results, err := pipeline.Exec(ctx)
	if results != nil || err != nil || pipeline.Len() != 0 {
		t.Fatal(results, err)
	}
	_, err = pipeline.Do("MULTI").Do("PING").Exec(ctx)
	checkError(t, err, rsscript.ErrCommandRefused)
	for i := range 10000 {
		pipeline.Call(get, []string{fmt.Sprint(key, i)})
	}
	results, err = pipeline.Exec(ctx)
	if err != nil || len(results) != 10000 || !results[9999].IsNil() {
		t.Fatal(len(results), err)
	}
}

// panics when it is marshalled.
type panics struct{}

func (panics) MarshalBinary() ([]byte, error) { panic("no bytes") }

// What panics while it is appended leaves nothing behind in the pipeline, of which others' calls would take harm.
func TestPipelineAfterAPanic(t *testing.T) {
	client := open(t, url)
	key := keyOf(t)
	pipeline := client.Pipeline().Do("SET", key, "first")
	for _, append := range []func(){
		func() { pipeline.Do("SET", key, panics{}) },
		func() { pipeline.Call(client.Script("return 1"), []string{key}, panics{}) },
	} {
		func() {
			defer func() {
				if recover() != "no bytes" {
					t.Fatal("no panic reached its caller")
				}
			}()
			append()
		}()
	}
	results, err := pipeline.Do("GET", key).Exec(ctx)
	if err != nil || len(results) != 2 {
		t.Fatal(results, err)
	}
	check(t, "first")(results[1].Text())
}

// What nobody has made is refused, and harms no call of others.
func TestWhatNobodyHasMade(t *testing.T) {
	client := open(t, url)
	var (
		none     rsscript.Client
		script   rsscript.Script
		library  rsscript.Library
		pipeline rsscript.Pipeline
	)
	made := client.Script("return 1")
	_, inPipeline := client.Pipeline().Call(&script, nil).Exec(ctx)
	_, nilInPipeline := client.Pipeline().Call(nil, nil).Exec(ctx)
	_, loaded := client.LibraryLoad(ctx, &library)
	_, nilLoaded := client.LibraryLoad(ctx, nil)
	_, pruned := client.LibraryPrune(ctx, &library)
	_, executed := pipeline.Do("PING").Exec(ctx)
	_, view := none.WithRouteSlot(1)
	_, stats := none.ScriptStats(ctx)
	for i, err := range []error{
		script.On(client).Call(ctx, nil).Err(), script.Call(ctx, nil).Err(), client.ScriptLoad(ctx, &script),
		client.ScriptLoad(ctx, nil), inPipeline, nilInPipeline, loaded, nilLoaded, pruned, executed, view, stats,
		library.On(client).Function("f").Call(ctx, nil).Err(), library.Function("f").Call(ctx, nil).Err(),
		none.Do(ctx, "PING").Err(), none.Script("return 1").Call(ctx, nil).Err(), made.On(nil).Call(ctx, nil).Err(),
		made.On(&none).Call(ctx, nil).Err(), none.ScriptFlush(ctx, rsscript.FlushSync),
		script.On(rstest.Open(t, func(*rstest.Call) any { return 1 })).Call(ctx, nil).Err(),
	} {
		if own := checkError(t, err, rsscript.ErrInvalidArgument); !own.NotExecuted {
			t.Fatal(i, err)
		}
		within, cancel := context.WithTimeout(ctx, time.Minute)
		check(t, int64(1))(made.Call(within, nil).Int64())
		cancel()
	}
	if none.Close() != nil || none.Stats() != (rsscript.Stats{}) || script.SHA()+library.Name() != "" {
		t.Fatal("there is something to it")
	}
}

func TestPipelineRepairsWhereNoOrderIsLostAndOnRequest(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url)
	script := client.Script("return 7")
	check(t, int64(7))(script.Call(ctx, nil).Int64())
	server.mustRaw(t, "SCRIPT FLUSH")
	keys := []string{"k"}
	results, err := client.Pipeline().Call(script, keys).Do("GET", "another").Exec(ctx)
	if err != nil {
		t.Fatal(err)
	}
	check(t, int64(7))(results[0].Int64())
	server.mustRaw(t, "SCRIPT FLUSH")
	// The command behind it has run on its key.
	results, err = client.Pipeline().Call(script, keys).Do("GET", "k").Exec(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkError(t, results[0].Err(), rsscript.ErrNoScript); !err.NotExecuted {
		t.Fatal(err)
	}
	check(t, int64(7))(script.Call(ctx, nil).Int64())
	server.mustRaw(t, "SCRIPT FLUSH")
	results, err = client.Pipeline().RepairUnordered().Call(script, keys).Do("GET", "k").Exec(ctx)
	if err != nil {
		t.Fatal(err)
	}
	check(t, int64(7))(results[0].Int64())
}

func TestTransaction(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url)
	key := keyOf(t)
	multiply := client.Script("return redis.call('GET', KEYS[1]) * ARGV[1]")
	for range 2 {
		results, err := client.Transaction().Do("SET", key, 5).Call(multiply, []string{key}, 5).Exec(ctx)
		if err != nil || len(results) != 2 {
			t.Fatal(results, err)
		}
		check(t, "OK")(results[0].Text())
		check(t, int64(25))(results[1].Int64())
		server.mustRaw(t, "SCRIPT FLUSH")
	}
	_, err := client.Transaction().Do("SET", key, 6).Do("NOSUCH").Exec(ctx)
	if err := checkError(t, err, rsscript.ErrTransactionAborted); !err.NotExecuted {
		t.Fatal(err)
	}
	_, err = client.Transaction().Do("SET", key, 6).Call(client.Script("no Lua"), nil).Exec(ctx)
	checkError(t, err, rsscript.ErrCompile)
	check(t, "5")(client.Do(ctx, "GET", key).Text())
	_, err = client.Transaction().RepairUnordered().Do("PING").Exec(ctx)
	if err == nil {
		t.Fatal("a transaction cannot be repaired")
	}
	check(t, int64(10))(multiply.Call(ctx, []string{key}, 2).Int64())
	results, err := client.Transaction().TrustCache().Call(multiply, []string{key}, 2).Exec(ctx)
	if err != nil {
		t.Fatal(err)
	}
	check(t, int64(10))(results[0].Int64())
}

func TestOpenFails(t *testing.T) {
	for url, status := range map[string]rsscript.Status{
		"":                            rsscript.ErrInvalidURL,
		"http://localhost":            rsscript.ErrInvalidURL,
		"redis://\x00":                rsscript.ErrInvalidArgument,
		"unix:///no/such/socket":      rsscript.ErrConnect,
		"redis://127.0.0.1:1/":        rsscript.ErrConnect,
		"redis+cluster://127.0.0.1:1": rsscript.ErrConnect,
	} {
		_, err := rsscript.Open(ctx, url)
		if err := checkError(t, err, status); !err.NotExecuted {
			t.Fatalf("%+v", err)
		}
	}
	server := ownServer(t, "--requirepass", "secret")
	_, err := rsscript.Open(ctx, server.url, rsscript.WithPassword("wrong secret"))
	if err := checkError(t, err, rsscript.ErrAuth); strings.Contains(err.Error(), "secret") {
		t.Fatal(err)
	}
	client := open(t, server.url, rsscript.WithPassword("secret"),
		rsscript.WithUsername("default"), rsscript.WithClientName("me"))
	check(t, "me")(client.Do(ctx, "CLIENT", "GETNAME").Text())
}

func TestOptions(t *testing.T) {
	for name, option := range map[string]rsscript.Option{
		"timeout":      rsscript.WithCallTimeout(0),
		"silence":      rsscript.WithSilenceTimeout(0),
		"negative":     rsscript.WithConnectTimeout(-time.Second),
		"protocol":     rsscript.WithProtocol(4),
		"read from":    rsscript.WithReadFrom(9),
		"depth":        rsscript.WithMaxReplyDepth(1),
		"waiting":      rsscript.WithMaxWaiting(0),
		"connections":  rsscript.WithSharedConnections(65),
		"bytes":        rsscript.WithMaxReplyBytes(1),
		"name":         rsscript.WithClientName("a name"),
		"keep-alive":   rsscript.WithKeepAlive(1e6 * time.Second),
		"in flight":    rsscript.WithMaxInFlight(0),
		"in flight, 2": rsscript.WithMaxInFlight(1 << 24),
		"address":      rsscript.WithMapAddress("nowhere", ""),
	} {
		_, err := rsscript.Open(ctx, url, option)
		if err == nil {
			t.Fatal(name)
		}
		if !errors.Is(err, rsscript.ErrInvalidOption) && !errors.Is(err, rsscript.ErrInvalidArgument) {
			t.Fatal(name, err)
		}
	}
	for name, option := range map[string]rsscript.Option{
		"user": rsscript.WithUsername("a\x00"), "file": rsscript.WithTLSCAFile("\x00"),
		"key": rsscript.WithTLSClientCert("a", "\x00"), "address": rsscript.WithMapAddress("a:1", "\x00"),
	} {
		_, err := rsscript.Open(ctx, url, option)
		if err == nil {
			t.Fatal(name)
		}
		checkError(t, err, rsscript.ErrInvalidArgument)
	}
	client := open(t, url, rsscript.WithConnectTimeout(time.Second), rsscript.WithCallTimeout(time.Second),
		rsscript.WithKeepAlive(0), rsscript.WithSilenceTimeout(time.Second),
		rsscript.WithReconnectBackoff(time.Millisecond, time.Second), rsscript.WithReconnectAttempts(3),
		rsscript.WithMaxReplyBytes(1<<16), rsscript.WithMaxReplyDepth(8), rsscript.WithMaxWaiting(10),
		rsscript.WithSharedConnections(2), rsscript.WithoutClientInfo(), rsscript.WithoutTransactionProbe(),
		rsscript.WithReadFrom(rsscript.PreferReplica), rsscript.WithMapAddress("a:1", "b:2"))
	check(t, "PONG")(client.Do(ctx, "PING").Text())
	err := checkError(t, client.Script("return string.rep('x', 70000)").Call(ctx, nil).Err(), rsscript.ErrReplyLimit)
	if !errors.Is(err, rsscript.ErrIndeterminate) {
		t.Fatal(err)
	}
}

func TestVersion(t *testing.T) {
	if !bytes.HasPrefix([]byte(rsscript.Version()), []byte("0.1.")) {
		t.Fatal(rsscript.Version())
	}
}
