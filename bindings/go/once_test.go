// Calls that happen exactly once, and the replies that are lost on their way.

package rsscript_test

import (
	"errors"
	"io"
	"math"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

const add = "return redis.call('INCRBY', KEYS[1], ARGV[1])"

// A lossyProxy stands between a client and a server, and can lose what the server says next.
type lossyProxy struct {
	url string
	// isArmed: the next bytes of the server are thrown away, and the connection with them.
	isArmed atomic.Bool
	// How many bytes of the server come through before the same happens; 0: any number.
	left atomic.Int64
}

func newLossyProxy(t *testing.T, server *server) *lossyProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	proxy := &lossyProxy{url: "redis://" + listener.Addr().String()}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go proxy.relay(client, server)
		}
	}()
	return proxy
}

func (p *lossyProxy) relay(client net.Conn, to *server) {
	defer client.Close()
	server, err := net.Dial(to.network, to.address)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		io.Copy(server, client)
		server.Close()
	}()
	buffer := make([]byte, 64*1024)
	for {
		count, err := server.Read(buffer)
		if err != nil || p.isArmed.CompareAndSwap(true, false) {
			return
		}
		if p.left.Load() > 0 && p.left.Add(-int64(count)) <= 0 {
			p.left.Store(0)
			return
		}
		if _, err := client.Write(buffer[:count]); err != nil {
			return
		}
	}
}

func TestOnceAfterLostReplies(t *testing.T) {
	server := ownServer(t)
	proxy := newLossyProxy(t, server)
	client := open(t, proxy.url)
	plain := client.Script(add)
	for name, once := range map[string]*rsscript.Script{
		"a script":   client.Script(add, rsscript.Once{}),
		"a function": client.Script(add, rsscript.Once{}, rsscript.AsFunction),
	} {
		t.Run(name, func(t *testing.T) {
			key := keyOf(t)
			// So that what is lost is the reply to the call, and it alone.
			check(t, int64(1))(once.Call(ctx, []string{key}, 1).Int64())
			check(t, int64(2))(plain.Call(ctx, []string{key}, 1).Int64())
			proxy.isArmed.Store(true)
			checkError(t, plain.Call(ctx, []string{key}, 1).Err(), rsscript.ErrIndeterminate)
			want := int64(3)
			for range 20 {
				want++
				proxy.isArmed.Store(true)
				check(t, want)(once.Call(ctx, []string{key}, 1).Int64())
				if proxy.isArmed.Load() {
					t.Fatal("no reply was lost")
				}
			}
			// Of a pipeline and a transaction.
			for _, pipeline := range []*rsscript.Pipeline{client.Pipeline(), client.Transaction()} {
				// What it needs is there.
				results, err := pipeline.Call(once, []string{key}, 0).Exec(ctx)
				if err != nil || rsscript.FirstErr(results) != nil {
					t.Fatal(results, err)
				}
				proxy.isArmed.Store(true)
				results, err = pipeline.Call(once, []string{key}, 1).Call(once, []string{key}, 1).Exec(ctx)
				if err != nil || proxy.isArmed.Load() {
					t.Fatal(err)
				}
				check(t, want+1)(results[0].Int64())
				check(t, want+2)(results[1].Int64())
				want += 2
			}
		})
	}
}

func TestOnceTokens(t *testing.T) {
	server := ownServer(t)
	client, other := open(t, server.url), open(t, server.url)
	script := client.Script(add, rsscript.Once{Lifetime: time.Hour, Prefix: "jobs:"}, rsscript.Name("add"))
	key := []string{keyOf(t)}
	job := rsscript.CallOptions{Token: "job 1"}
	for range 2 {
		check(t, int64(5))(script.CallWith(ctx, job, key, 5).Int64())
		check(t, int64(5))(script.On(other).CallWith(ctx, job, key, 5).Int64())
		// By its source another process has the same one.
		same := other.Script(add, rsscript.Once{Prefix: "jobs:"})
		check(t, int64(5))(same.CallWith(ctx, job, key, 5).Int64())
	}
	err := checkError(t, script.CallWith(ctx, job, key, 6).Err(), rsscript.ErrTokenMismatch)
	if !errors.Is(err, rsscript.ErrTokenMismatch) || !err.NotExecuted || err.ServerCode != "RSTOKEN" {
		t.Fatalf("%+v", err)
	}
	// Each item's own, and one for all.
	for _, begin := range []func() *rsscript.Pipeline{client.Pipeline, client.Transaction} {
		check(t, "OK")(client.Do(ctx, "SET", key[0], 0).Text())
		token := keyOf(t)
		for range 2 {
			own := rsscript.CallOptions{Token: token}
			results, err := begin().CallWith(own, script, key, 1).Exec(ctx)
			if err != nil {
				t.Fatal(err)
			}
			check(t, int64(1))(results[0].Int64())
			results, err = begin().Call(script, key, 10).Call(script, key, 10).ExecWith(ctx, own)
			if err != nil {
				t.Fatal(err)
			}
			check(t, int64(11))(results[0].Int64())
			check(t, int64(21))(results[1].Int64())
		}
		check(t, "21")(client.Do(ctx, "GET", key[0]).Text())
	}
}

func TestOnceRefused(t *testing.T) {
	client := open(t, url)
	for name, options := range map[string][]rsscript.ScriptOption{
		"idempotent too":  {rsscript.Once{}, rsscript.Idempotent},
		"a short life":    {rsscript.Once{Lifetime: time.Nanosecond}},
		"an endless life": {rsscript.Once{Lifetime: math.MaxInt64}},
		"an endless wait": {rsscript.Once{WaitReplicas: 1, WaitTimeout: math.MaxInt64}},
		"a negative life": {rsscript.Once{Lifetime: -time.Hour}},
		"a tiny limit":    {rsscript.Once{ReplyLimit: 1}},
		"a negative":      {rsscript.Once{WaitReplicas: -1}},
		"many replicas":   {rsscript.Once{WaitReplicas: 1 << 40}},
		"a long wait":     {rsscript.Once{WaitReplicas: 1, WaitTimeout: 1 << 62}},
		"a brace":         {rsscript.Once{Prefix: "{x}"}},
	} {
		err := client.Script("return 1", options...).Call(ctx, nil).Err()
		if err := checkError(t, err, rsscript.ErrInvalidArgument); !err.NotExecuted {
			t.Fatal(name)
		}
	}
	once, plain := client.Script(add, rsscript.Once{}), client.Script(add)
	token := rsscript.CallOptions{Token: "t"}
	before := client.Stats().Calls
	long := rsscript.CallOptions{Token: strings.Repeat("x", 257)}
	readOnly := rsscript.CallOptions{Token: "t", ReadOnly: true}
	_, items := client.Pipeline().DoWith(token, "GET", "k").Exec(ctx)
	_, mixed := client.Pipeline().Call(once, []string{"k"}, 1).Do("GET", "k").ExecWith(ctx, token)
	_, flags := client.Pipeline().Call(once, []string{"k"}, 1).ExecWith(ctx, rsscript.CallOptions{Idempotent: true})
	_, scripts := client.Pipeline().CallWith(token, plain, []string{"k"}, 1).Exec(ctx)
	for i, err := range []error{
		once.CallWith(ctx, long, []string{"k"}, 1).Err(), once.CallWith(ctx, readOnly, []string{"k"}, 1).Err(),
		plain.CallWith(ctx, token, []string{"k"}, 1).Err(), client.DoWith(ctx, token, "GET", "k").Err(),
		items, mixed, flags, scripts,
	} {
		if err := checkError(t, err, rsscript.ErrInvalidArgument); !err.NotExecuted || client.Stats().Calls != before {
			t.Fatal(i, err)
		}
	}
}

func TestOnceLimits(t *testing.T) {
	client := open(t, url)
	token := rsscript.CallOptions{Token: keyOf(t)}
	long := client.Script("return string.rep('x', 100)", rsscript.Once{ReplyLimit: 64})
	check(t, strings.Repeat("x", 100))(long.CallWith(ctx, token, []string{"k"}).Text())
	err := checkError(t, long.CallWith(ctx, token, []string{"k"}).Err(), rsscript.ErrReplyNotKept)
	if !errors.Is(err, rsscript.ErrReplyNotKept) || err.Indeterminate || err.NotExecuted {
		t.Fatalf("%+v", err)
	}
	// There is no replica.
	impatient := open(t, url, rsscript.WithCallTimeout(500*time.Millisecond))
	script := impatient.Script(add, rsscript.Once{WaitReplicas: 1, WaitTimeout: time.Millisecond})
	err = checkError(t, script.Call(ctx, []string{keyOf(t)}, 1).Err(), rsscript.ErrNotReplicated)
	if !errors.Is(err, rsscript.ErrIndeterminate) || err.NotExecuted {
		t.Fatalf("%+v", err)
	}
}

const onceLibrary = `#!lua name=stock
redis.register_function('add', function(keys, args) return redis.call('INCRBY', keys[1], args[1]) end)
redis.register_function{function_name='get', callback=function(keys) return redis.call('GET', keys[1]) end,
	flags={'no-writes'}}`

func TestOnceOfLibraries(t *testing.T) {
	server := ownServer(t)
	proxy := newLossyProxy(t, server)
	client, other := open(t, proxy.url), open(t, server.url)
	once := rsscript.Once{Lifetime: time.Hour, ReplyLimit: 1000, Prefix: "jobs:"}
	plain, library := client.Library(onceLibrary), client.Library(onceLibrary, once)
	if plain.Name() == library.Name() {
		t.Fatal("one name for two codes")
	}
	// Administered by the name that its calls have.
	state := func(library *rsscript.Library, want rsscript.LibraryState) {
		t.Helper()
		told, err := other.LibraryCheck(ctx, library)
		if noError(t, err); len(told) != 1 || told[0].State != want {
			t.Fatal(told)
		}
	}
	state(library, rsscript.LibraryAbsent)
	counter, key := library.Function("add"), keyOf(t)
	check(t, int64(1))(counter.Call(ctx, []string{key}, 1).Int64())
	state(library, rsscript.LibrarySame)
	state(plain, rsscript.LibraryAbsent)
	state(client.Library(onceLibrary, rsscript.Once{}), rsscript.LibraryAbsent)
	state(client.Library(onceLibrary, rsscript.Once{
		Lifetime: time.Hour, ReplyLimit: 1000, Prefix: "jobs:", WaitReplicas: 1,
	}), rsscript.LibrarySame)

	want := int64(1)
	for range 20 {
		want++
		proxy.isArmed.Store(true)
		check(t, want)(counter.Call(ctx, []string{key}, 1).Int64())
		if proxy.isArmed.Load() {
			t.Fatal("no reply was lost")
		}
	}
	// Gone from the server, and lost on the way, in a pipeline and a transaction.
	for _, begin := range []func() *rsscript.Pipeline{client.Pipeline, client.Transaction} {
		noError(t, other.Do(ctx, "FUNCTION", "FLUSH").Err())
		results, err := begin().Call(counter, []string{key}, 1).Call(counter, []string{key}, 1).Exec(ctx)
		noError(t, err)
		check(t, want+2)(results[1].Int64())
		proxy.isArmed.Store(true)
		results, err = begin().Call(counter, []string{key}, 1).Call(counter, []string{key}, 1).Exec(ctx)
		noError(t, err)
		check(t, want+4)(results[1].Int64())
		want += 4
	}
	// A token of the caller's own, from whichever client.
	job := rsscript.CallOptions{Token: "job 1"}
	want++
	for _, by := range []*rsscript.Client{client, other, client} {
		check(t, want)(counter.On(by).CallWith(ctx, job, []string{key}, 1).Int64())
	}
	checkError(t, counter.CallWith(ctx, job, []string{key}, 2).Err(), rsscript.ErrTokenMismatch)
	tokens, err := other.Do(ctx, "KEYS", "jobs:*").Slice()
	if noError(t, err); len(tokens) == 0 {
		t.Fatal("no token is where the prefix says")
	}
	// What only reads has no token.
	get := library.Function("get")
	check(t, want)(get.CallRO(ctx, []string{key}).Int64())
	check(t, want)(get.Call(ctx, []string{key}).Int64())
	token := rsscript.CallOptions{Token: "t"}
	refused := checkError(t, get.CallWith(ctx, token, []string{key}).Err(), rsscript.ErrInvalidArgument)
	if !refused.NotExecuted {
		t.Fatalf("%+v", refused)
	}

	// The rest of administration, side by side with the same library without Once.
	loaded, err := other.LibraryLoad(ctx, plain)
	if noError(t, err); loaded[0].State != rsscript.LibraryLoaded {
		t.Fatal(loaded)
	}
	deployed, err := other.LibraryDeploy(ctx, library)
	if noError(t, err); deployed[0].State != rsscript.LibrarySame {
		t.Fatal(deployed)
	}
	pruned, err := other.LibraryPrune(ctx, library)
	if noError(t, err); len(pruned) != 1 || len(pruned[0].Removed) != 1 || pruned[0].Removed[0] != plain.Name() {
		t.Fatal(pruned)
	}
	state(library, rsscript.LibrarySame)
}

func TestOnceOfLibrariesRefused(t *testing.T) {
	client := open(t, url)
	for name, options := range map[string][]rsscript.LibraryOption{
		"named":           {rsscript.Once{}, rsscript.Named},
		"a short life":    {rsscript.Once{Lifetime: time.Nanosecond}},
		"a negative life": {rsscript.Once{Lifetime: -time.Hour}},
		"a tiny limit":    {rsscript.Once{ReplyLimit: 1}},
		"many replicas":   {rsscript.Once{WaitReplicas: 1 << 40}},
		"a lonely wait":   {rsscript.Once{WaitTimeout: time.Second}},
		"a brace":         {rsscript.Once{Prefix: "{x}"}},
	} {
		library := client.Library(onceLibrary, options...)
		add := library.Function("add")
		if err := checkError(t, add.Call(ctx, []string{"k"}, 1).Err(), rsscript.ErrInvalidArgument); !err.NotExecuted {
			t.Fatal(name)
		}
		_, err := client.LibraryCheck(ctx, library)
		checkError(t, err, rsscript.ErrInvalidArgument)
	}
	single := client.Library(onceLibrary).Function("add", rsscript.Once{})
	checkError(t, single.Call(ctx, []string{"k"}, 1).Err(), rsscript.ErrInvalidArgument)
}
