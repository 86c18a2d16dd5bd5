// Replies into variables: every kind of destination, structs from maps of both protocols, iterators, logs, and the
// memory that parts of a reply keep.

package rsscript_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
	"github.com/rs-script/rs_script/bindings/go/rstest"
)

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T any](t testing.TB, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%#v, not %#v", got, want)
	}
}

type level int

func TestScanElements(t *testing.T) {
	client := open(t, url)
	result := client.Script("return {'a', 2, '3.5', false, {'x', 'y'}, '7', '1', 'left out'}").Call(ctx, nil)
	var (
		a    string
		two  uint8
		real float32
		none *string
		list []string
		own  level
		yes  bool
	)
	none = &a
	noError(t, result.Scan(&a, &two, &real, &none, &list, &own, &yes, nil))
	if a != "a" || two != 2 || real != 3.5 || none != nil || !slices.Equal(list, []string{"x", "y"}) || own != 7 || !yes {
		t.Fatal(a, two, real, none, list, own, yes)
	}
	if err := result.Scan(&a, &two); err == nil || !strings.Contains(err.Error(), "8 elements") ||
		!strings.Contains(err.Error(), "2 destinations") {
		t.Fatal(err)
	}
	if err := result.Scan(&a, &two, &real, &a, &list, &own, &yes, nil); !errors.Is(err, rsscript.ErrNil) ||
		!strings.Contains(err.Error(), "element 3") {
		t.Fatal(err)
	}
	// One reply into one variable.
	var number int
	noError(t, client.Script("return 5").Call(ctx, nil).Scan(&number))
	equal(t, number, 5)
	noError(t, client.Script("return {6}").Call(ctx, nil).Scan(&number))
	equal(t, number, 6)
	fails := client.Script("return redis.error_reply('MINE is mine')")
	checkError(t, fails.Call(ctx, nil).Scan(&number), rsscript.ErrServer)
}

// What a server gives as a key may be what Go has no key of.
func TestKeysThatAreNone(t *testing.T) {
	pairs := open(t, url).Script("return {{1, 2}, 3, 'text', 4}").Call(ctx, nil)
	if _, err := rsscript.As[map[any]int](pairs); err == nil || !strings.Contains(err.Error(), "[]interface {}") {
		t.Fatal(err)
	}
	texts, err := rsscript.As[map[any]int](open(t, url).Script("return {'a', 1, 2, 3}").Call(ctx, nil))
	noError(t, err)
	equal(t, texts, map[any]int{"a": 1, int64(2): 3})
}

func TestEveryDestination(t *testing.T) {
	digits := "123456789012345678901"
	large, _ := new(big.Int).SetString(digits, 10)
	type named []byte
	for _, test := range []struct {
		reply, want any
	}{
		{"text", "text"}, {"text", []byte("text")}, {"text", named("text")}, {"text", json.RawMessage("text")}, {5, "5"},
		{-5, int8(-5)}, {"300", int16(300)}, {5, int32(5)}, {5, int64(5)}, {5, uint(5)},
		{rstest.Status("5"), 5}, {rstest.Status("5"), uint(5)},
		{uint64(1) << 62, uint64(1) << 62}, {"18446744073709551615", ^uint64(0)},
		{5, 5.0}, {"2.5", float32(2.5)}, {true, true}, {1, true}, {"0", false}, {true, 1},
		{large, *large}, {digits, *large},
		{[]any{1, "2", nil}, []any{int64(1), "2", nil}}, {[]int{1, 2}, []int64{1, 2}},
		{[]string{"a"}, []string{"a"}}, {[]any{[]int{1}, []int{}}, [][]int{{1}, {}}},
		{map[string]int{"a": 1}, map[string]int{"a": 1}}, {[]any{"a", 1}, map[string]uint8{"a": 1}},
		{map[int]any{1: []int{2}}, map[int][]int{1: {2}}},
		{map[string]any{"a": 1.5}, map[string]any{"a": 1.5}}, {nil, []int(nil)},
		{nil, map[string]int(nil)}, {nil, (*int)(nil)}, {nil, []byte(nil)},
		{"2026-01-02T03:04:05Z", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, {"10.0.0.1", netip.MustParseAddr("10.0.0.1")},
		{nil, any(nil)},
	} {
		into := reflect.New(reflect.TypeFor[any]())
		if test.want != nil {
			into = reflect.New(reflect.TypeOf(test.want))
		}
		if err := rstest.Result(test.reply).Scan(into.Interface()); err != nil {
			t.Fatalf("%v into %T: %v", test.reply, test.want, err)
		}
		equal(t, into.Elem().Interface(), test.want)
	}
	for _, test := range []struct{ reply, into any }{
		{300, new(int8)}, {-1, new(uint)}, {"18446744073709551616", new(uint64)}, {1e300, new(float32)},
		{1.5, new(int)}, {"x", new(int)}, {2, new(bool)}, {nil, new(int)}, {nil, new(string)}, {nil, new(bool)},
		{"x", new([]string)}, {[]int{1, 2, 3}, new(map[string]int)}, {[]string{"x"}, new([]int)},
		{5, new(time.Duration)}, {5, new(chan int)}, {5, 5}, {5, nil}, {5, (*int)(nil)}, {5, (*int64)(nil)},
		{"x", (*string)(nil)}, {"x", (*[]byte)(nil)}, {5, (*any)(nil)}, {5, (*rsscript.Result)(nil)}, {5, (*big.Int)(nil)},
		{5, (*celsius)(nil)}, {rsscript.Result{}, new(any)}, {rsscript.Result{}, new(int)}, {"x", new(netip.Addr)},
		{"x", new(struct{})}, {map[string]any{"a": "x"}, new(map[string]int)},
	} {
		err := rstest.Result(test.reply).Scan(test.into)
		if err == nil || err.Error() == "" {
			t.Fatalf("%v into a %T", test.reply, test.into)
		}
	}
}

// Whatever it is that does not fit, it is a TypeError.
func TestRepliesThatDoNotFit(t *testing.T) {
	pair := rstest.Result([]any{[]any{1}, 2})
	for want, err := range map[string]error{
		"300 does not fit into a int8": rstest.Result(300).Scan(new(int8)),
		"3 elements":                   rstest.Result([]int{1, 2, 3}).Scan(new(int), new(int)),
		"key 0: a []interface":         pair.Scan(new(map[any]any)),
		"is a string, not an integer":  rstest.Result("x").Scan(new(int)),
		"is an array, not a map":       rstest.Result([]int{1}).Scan(new(embedded)),
	} {
		var wrong *rsscript.TypeError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), want) || wrong.Wanted == "" {
			t.Error(err)
		}
	}
}

type embedded struct {
	Visits int
	Name   string
}

type deeper struct{ Depth int }

type user struct {
	embedded
	*Deep
	Name    string `redis:"full name,omitempty"`
	City    *string
	Ignored string `redis:"-"`
	private string
	Score   float64 `redis:"score"`
}

type Deep struct{ Depth int }

func TestStructsFromMaps(t *testing.T) {
	for _, protocol := range []rsscript.Protocol{rsscript.RESP2, rsscript.RESP3} {
		client := open(t, url, rsscript.WithProtocol(protocol))
		key := keyOf(t)
		noError(t, client.Do(ctx, "HSET", key, "full name", "Ada", "visits", 3, "CITY", "London", "ignored", "x",
			"private", "x", "more", "x", "depth", 2, "score", "1.5").Err())
		hash := client.Do(ctx, "HGETALL", key)
		kinds := map[rsscript.Protocol]rsscript.Kind{
			rsscript.RESP2: rsscript.KindArray, rsscript.RESP3: rsscript.KindMap,
		}
		if hash.Kind() != kinds[protocol] {
			t.Fatal(hash.Kind())
		}
		got, err := rsscript.As[user](hash)
		noError(t, err)
		city := "London"
		equal(t, got, user{embedded: embedded{Visits: 3}, Deep: &Deep{2}, Name: "Ada", City: &city, Score: 1.5})
		// What has no key stays as it is.
		other := user{Ignored: "kept", private: "kept"}
		noError(t, client.Do(ctx, "HGETALL", "no such key").Scan(&other))
		equal(t, other, user{Ignored: "kept", private: "kept"})
		twice := client.Script("return {redis.call('HGETALL', KEYS[1]), {}}")
		both, err := rsscript.As[[]user](twice.Call(ctx, []string{key}))
		if err != nil || len(both) != 2 || both[0].Name != "Ada" || both[1].Name != "" {
			t.Fatal(both, err)
		}
		noError(t, client.Do(ctx, "HSET", key, "visits", "many").Err())
		if err := client.Do(ctx, "HGETALL", key).Scan(&other); err == nil || !strings.Contains(err.Error(), "visits") {
			t.Fatal(err)
		}
		pairs := map[string]string{}
		for field, value := range hash.Pairs() {
			pairs[field], _ = value.Text()
		}
		if len(pairs) != 8 || pairs["visits"] != "3" {
			t.Fatal(pairs)
		}
	}
	// A pointer to a type that is not exported cannot be set from outside.
	type hidden struct{ *deeper }
	value, err := rsscript.As[hidden](rstest.Result(map[string]int{"depth": 1}))
	if err != nil || value.deeper != nil {
		t.Fatal(value, err)
	}
}

type celsius float64

func (c *celsius) ScanResult(result rsscript.Result) error {
	f, err := result.Float64()
	*c = celsius((f - 32) / 1.8)
	return err
}

type scans func(rsscript.Result)

func (s scans) ScanResult(result rsscript.Result) error {
	s(result)
	return nil
}

func TestScanner(t *testing.T) {
	warm, err := rsscript.As[[]celsius](rstest.Result([]any{"212", 32}))
	noError(t, err)
	equal(t, warm, []celsius{100, 0})
	// One need not be a pointer.
	var taken []rsscript.Kind
	taker := scans(func(result rsscript.Result) { taken = append(taken, result.Kind()) })
	noError(t, rstest.Result([]int{1, 2}).Scan(taker))
	noError(t, rstest.Result("text").Scan(taker))
	equal(t, taken, []rsscript.Kind{rsscript.KindArray, rsscript.KindString})
}

func TestIterators(t *testing.T) {
	var sum int64
	for element := range rstest.Result([]int{1, 2, 3, 4}).All() {
		n, err := element.Int64()
		noError(t, err)
		if sum += n; n == 3 {
			break
		}
	}
	equal(t, sum, 6)
	// Nothing is overlooked.
	for _, reply := range []any{errors.New("ERR no"), nil, "text"} {
		result := rstest.Result(reply)
		equal(t, slices.Collect(result.All()), []rsscript.Result{result})
		for key, value := range result.Pairs() {
			equal(t, key, "")
			equal(t, value, result)
		}
	}
	if found := slices.Collect(rstest.Result([]any{}).All()); len(found) != 0 {
		t.Fatal(found)
	}
	for key, value := range rstest.Result([]any{[]int{1}, 2}).Pairs() {
		if key != "" || value.Kind() != rsscript.KindArray {
			t.Fatal(key, value)
		}
	}
}

func TestLogs(t *testing.T) {
	var out bytes.Buffer
	onlyReply := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key != "r" {
			return slog.Attr{}
		}
		return a
	}
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: onlyReply}))
	for _, test := range []struct {
		reply any
		want  string
	}{
		{5, "r=5\n"}, {"text", "r=text\n"}, {true, "r=true\n"}, {nil, "r=<nil>\n"},
		{[]any{1, "a", nil}, `r="array[1 \"a\" nil]"` + "\n"},
		{errors.New("ERR no"), `r="ERR no"` + "\n"}, {map[string]int{"a": 1}, `r="map[\"a\" 1]"` + "\n"},
	} {
		out.Reset()
		logger.Info("", "r", rstest.Result(test.reply))
		equal(t, out.String(), test.want)
	}
	for _, reply := range []any{
		strings.Repeat("x", 1<<20), slices.Repeat([]string{"xyz"}, 1<<18), []any{[]any{strings.Repeat("x", 1<<20)}, 1},
	} {
		out.Reset()
		logger.Info("", "r", rstest.Result(reply))
		if out.Len() > 8000 || !strings.Contains(out.String(), " more") {
			t.Fatal(out.Len())
		}
	}
	if text := rstest.Result(slices.Repeat([]int{1}, 5000)).String(); strings.Count(text, "1") != 5000 {
		t.Fatal(len(text))
	}
}

// held is how many bytes of the heap are in use once garbage is collected.
func held() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// What is taken out of a large reply does not keep it, and is what it was.
func TestSmallElementsKeepNoLargeReply(t *testing.T) {
	client := open(t, url)
	key := keyOf(t)
	const size = 64 << 20
	noError(t, client.Do(ctx, "SETRANGE", key, size-1, "x").Err())
	t.Cleanup(func() { client.Do(ctx, "DEL", key) })
	source := "local a = {'hello', redis.call('GET', KEYS[1])} for i = 3, 1000 do a[i] = 'n' .. i end " +
		"for i, n in ipairs({10, 40000, 60000, 200000}) do a[1000 + i] = {'first', string.rep('x', n), 'last'} end return a"
	before := held()
	elements, err := client.Script(source).Call(ctx, []string{key}).Slice()
	noError(t, err)
	if n := elements[1].Len(); len(elements) != 1004 || n != size {
		t.Fatal(len(elements), n)
	}
	for i := 2; i < 1000; i++ {
		check(t, fmt.Sprint("n", i+1))(elements[i].Text())
	}
	small := []rsscript.Result{elements[0], elements[999]}
	for _, nested := range elements[1000:] {
		inner, err := nested.Slice()
		noError(t, err)
		check(t, "first")(inner[0].Text())
		check(t, "last")(inner[2].Text())
		small = append(small, inner[2])
	}
	elements = nil
	// Whoever took it in lets go of it when it is next given the processor.
	eventually(t, "the large reply is let go of", func() bool { return held() <= before+8<<20 })
	check(t, "hello")(small[0].Text())
	check(t, "n1000")(small[1].Text())
}

// A pipeline that is kept keeps no memory of what it was large once.
func TestPipelinesKeepNoLargeCall(t *testing.T) {
	client := open(t, url)
	before := held()
	pipeline := client.Pipeline()
	results, err := pipeline.Do("ECHO", strings.Repeat("x", 32<<20)).Exec(ctx)
	noError(t, err)
	equal(t, results[0].Len(), 32<<20)
	results = nil
	eventually(t, "the large call is let go of", func() bool { return held() <= before+8<<20 })
	check(t, "PONG")(func() (string, error) {
		results, err := pipeline.Do("PING").Exec(ctx)
		noError(t, err)
		return results[0].Text()
	}())
}

// The error of a pipeline that broke keeps none of the replies that came before.
func TestErrorsKeepNoLargeReply(t *testing.T) {
	proxy := newLossyProxy(t, ownServer(t))
	client := open(t, proxy.url)
	const size = 32 << 20
	noError(t, client.Do(ctx, "SETRANGE", "large", size-1, "x").Err())
	before := held()
	proxy.left.Store(size + size/2)
	results, err := client.Pipeline().Do("GET", "large").Do("GET", "large").Exec(ctx)
	if len(results) != 1 || results[0].Len() != size {
		t.Fatal(len(results), err)
	}
	failed := checkError(t, err, rsscript.ErrIndeterminate)
	results, err = nil, nil
	eventually(t, "the large reply is let go of", func() bool { return held() <= before+8<<20 })
	if failed.Index != 1 || failed.Node == "" {
		t.Fatalf("%+v", failed)
	}
}

// Elements of all sizes around the borders of what is copied together.
func TestElementsOfAnySize(t *testing.T) {
	client := open(t, url)
	sizes := []int{
		0, 1, 5, 1000, 30 << 10, 32<<10 - 10, 32<<10 - 5, 32 << 10, 33 << 10, 70 << 10, 2, 31 << 10, 31 << 10, 3,
		64<<10 - 6, 64<<10 - 5, 64<<10 - 4, 0, 64 << 10, 1, 60 << 10,
	}
	arguments := make([]any, 0, 3*len(sizes))
	for range 3 {
		for i, size := range sizes {
			arguments = append(arguments, strings.Repeat(string(rune('a'+i)), size))
		}
	}
	result := client.Script("return {ARGV, ARGV, #ARGV}").Call(ctx, nil, arguments...)
	for list := range result.All() {
		if list.Kind() == rsscript.KindInteger {
			check(t, int64(len(arguments)))(list.Int64())
			continue
		}
		texts, err := list.Strings()
		noError(t, err)
		for i, text := range texts {
			if text != arguments[i] {
				t.Fatalf("element %d has %d bytes, not %d", i, len(text), len(arguments[i].(string)))
			}
		}
	}
}
