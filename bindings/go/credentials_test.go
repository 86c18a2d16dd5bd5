// Credentials by a function: given, refused, renewed on connections that stand, and never shown.

package rsscript_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

// vault gives what it is told to, and counts.
type vault struct {
	mu    sync.Mutex
	asked int
	nodes []string
	then  func(ctx context.Context) (rsscript.Credentials, error)
}

func (v *vault) ask(ctx context.Context, node string) (rsscript.Credentials, error) {
	v.mu.Lock()
	v.asked++
	v.nodes = append(v.nodes, node)
	then := v.then
	v.mu.Unlock()
	return then(ctx)
}

func (v *vault) says(then func(ctx context.Context) (rsscript.Credentials, error)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.then = then
}

func (v *vault) gives(given rsscript.Credentials) {
	v.says(func(context.Context) (rsscript.Credentials, error) { return given, nil })
}

func (v *vault) fails(err error) {
	v.says(func(context.Context) (rsscript.Credentials, error) { return rsscript.Credentials{}, err })
}

func (v *vault) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.asked
}

// guarded is a server whose default user is off; the password of the user app is set by what is returned.
func guarded(t *testing.T) (*server, func(password string)) {
	t.Helper()
	var options []string
	for _, user := range []string{"admin on nopass", "app off resetpass", "other on >o"} {
		options = append(append(append(options, "--user"), strings.Fields(user)...), "~*", "&*", "+@all")
	}
	server := ownServer(t, options...)
	admin := open(t, server.url, rsscript.WithUsername("admin"), rsscript.WithPassword("any"))
	noError(t, admin.Do(ctx, "ACL", "SETUSER", "default", "off").Err())
	return server, func(password string) {
		t.Helper()
		noError(t, admin.Do(ctx, "ACL", "SETUSER", "app", "on", "resetpass", ">"+password).Err())
	}
}

func TestCredentials(t *testing.T) {
	server, setPassword := guarded(t)
	setPassword("first secret")
	v := &vault{}
	v.gives(rsscript.Credentials{Username: "app", Password: "first secret", Lifetime: time.Hour})
	heard := &listener{level: slog.LevelInfo}
	client := open(t, server.url, rsscript.WithCredentials(v.ask), heard.option())
	id := check(t, "app")
	id(client.Do(ctx, "ACL", "WHOAMI").Text())
	equal(t, v.nodes, []string{server.address})

	// The password is rotated: the connection stands, and logs in with the new one, which is refused while the server
	// has another.
	before, err := client.Do(ctx, "CLIENT", "ID").Int64()
	noError(t, err)
	v.gives(rsscript.Credentials{Username: "app", Password: "second secret"})
	failure := checkError(t, client.Reauthenticate(ctx), rsscript.ErrAuth)
	equal(t, failure.ServerCode, "WRONGPASS")
	setPassword("second secret")
	noError(t, client.Reauthenticate(ctx))
	check(t, before)(client.Do(ctx, "CLIENT", "ID").Int64())
	eventually(t, "it is told of", func() bool {
		text := fmt.Sprint(heard.heard())
		return strings.Contains(text, "refused the login") && strings.Contains(text, "logged in again")
	})

	// Where there are none, it serves on.
	v.fails(errors.New("the vault is sealed"))
	failure = checkError(t, client.Reauthenticate(ctx), rsscript.ErrAuth)
	if !strings.Contains(failure.Message, "the vault is sealed") || strings.Contains(failure.Message, "secret") {
		t.Fatal(failure)
	}
	check(t, "PONG")(client.Do(ctx, "PING").Text())

	// Another user has another connection.
	v.gives(rsscript.Credentials{Username: "other", Password: "o"})
	noError(t, client.Reauthenticate(ctx))
	eventually(t, "it is the other user", func() bool {
		who, err := client.Do(ctx, "ACL", "WHOAMI").Text()
		return err == nil && who == "other"
	})
	if text := fmt.Sprint(heard.heard()); strings.Contains(text, "secret") {
		t.Fatal(text)
	}
}

func TestCredentialsThatExpire(t *testing.T) {
	server, setPassword := guarded(t)
	var number atomic.Int64
	client := open(t, server.url, rsscript.WithCredentials(func(context.Context, string) (rsscript.Credentials, error) {
		password := fmt.Sprint("token ", number.Add(1))
		setPassword(password)
		// Less than a second is taken for a second.
		return rsscript.Credentials{Username: "app", Password: password, Lifetime: time.Millisecond}, nil
	}))
	before, err := client.Do(ctx, "CLIENT", "ID").Int64()
	noError(t, err)
	// Nobody calls meanwhile, and somebody does.
	eventually(t, "it is renewed by itself", func() bool { return number.Load() >= 3 })
	eventually(t, "it is renewed between calls", func() bool {
		noError(t, client.Do(ctx, "PING").Err())
		return number.Load() >= 5
	})
	check(t, before)(client.Do(ctx, "CLIENT", "ID").Int64())
}

func TestCredentialsThatAreNone(t *testing.T) {
	server, setPassword := guarded(t)
	setPassword("secret")
	for name, way := range map[string]struct {
		then func(context.Context) (rsscript.Credentials, error)
		says string
	}{
		"an error": {func(context.Context) (rsscript.Credentials, error) {
			return rsscript.Credentials{}, errors.New("the vault is sealed")
		}, "the vault is sealed"},
		"an error with a NUL": {func(context.Context) (rsscript.Credentials, error) {
			return rsscript.Credentials{}, errors.New("a\x00b")
		}, "no credentials"},
		"a panic": {func(context.Context) (rsscript.Credentials, error) { panic("secret") }, "panicked"},
		"Goexit": {func(context.Context) (rsscript.Credentials, error) {
			runtime.Goexit()
			return rsscript.Credentials{}, nil
		}, "ended its goroutine"},
		"an error that panics": {func(context.Context) (rsscript.Credentials, error) {
			return rsscript.Credentials{}, (*brokenError)(nil)
		}, "panicked"},
		"a user with a NUL": {func(context.Context) (rsscript.Credentials, error) {
			return rsscript.Credentials{Username: "a\x00", Password: "secret"}, nil
		}, "the user name holds a NUL"},
		"nothing": {func(context.Context) (rsscript.Credentials, error) { return rsscript.Credentials{}, nil }, ""},
		"the wrong one": {func(context.Context) (rsscript.Credentials, error) {
			return rsscript.Credentials{Username: "app", Password: "wrong secret"}, nil
		}, "WRONGPASS"},
	} {
		goroutinesGone := noGoroutinesLeft(t)
		v := &vault{then: way.then}
		_, err := rsscript.Open(ctx, server.url, rsscript.WithCredentials(v.ask), rsscript.WithReconnectAttempts(1))
		if err == nil {
			t.Fatal(name)
		}
		failure := checkError(t, err, rsscript.ErrAuth)
		if !failure.NotExecuted || !strings.Contains(failure.Message, way.says) ||
			strings.Contains(failure.Message, "secret") {
			t.Fatal(name, failure)
		}
		goroutinesGone()
	}
	for name, options := range map[string][]rsscript.Option{
		"nil":        {rsscript.WithCredentials(nil)},
		"a password": {rsscript.WithPassword("secret"), rsscript.WithCredentials((&vault{}).ask)},
	} {
		_, err := rsscript.Open(ctx, server.url, options...)
		if err == nil {
			t.Fatal(name)
		}
		checkError(t, err, rsscript.ErrInvalidOption)
	}
	checkError(t, open(t, url).Reauthenticate(ctx), rsscript.ErrInvalidArgument)
}

type brokenError struct{ text string }

func (e *brokenError) Error() string { return e.text }

func TestCredentialsThatDoNotCome(t *testing.T) {
	server, setPassword := guarded(t)
	setPassword("secret")
	goroutinesGone := noGoroutinesLeft(t)
	v := &vault{}
	// It heeds its context, which ends at the connect timeout.
	v.says(func(ctx context.Context) (rsscript.Credentials, error) {
		<-ctx.Done()
		return rsscript.Credentials{}, ctx.Err()
	})
	_, err := rsscript.Open(ctx, server.url, rsscript.WithCredentials(v.ask),
		rsscript.WithConnectTimeout(50*time.Millisecond), rsscript.WithReconnectAttempts(1))
	var failure *rsscript.Error
	if !errors.As(err, &failure) || !failure.NotExecuted ||
		failure.Status != rsscript.ErrConnect && failure.Status != rsscript.ErrAuth {
		t.Fatal(err)
	}
	goroutinesGone()

	// One that ends only with the client: no call goes through, and calls end at their deadlines; nothing is asked
	// twice at once.
	ended := make(chan error, 1)
	v = &vault{}
	v.says(func(ctx context.Context) (rsscript.Credentials, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return rsscript.Credentials{}, ctx.Err()
	})
	client := open(t, server.url, rsscript.WithCredentials(v.ask), rsscript.WithLazyConnect(),
		rsscript.WithConnectTimeout(time.Hour))
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	checkError(t, client.Do(soon, "PING").Err(), rsscript.ErrTimeout)
	eventually(t, "it is asked", func() bool { return v.count() == 1 })
	noError(t, client.Close())
	equal(t, v.count(), 1)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	goroutinesGone()

	// One that heeds nothing does not keep Close from returning.
	goOn, started := make(chan struct{}), make(chan struct{}, 1)
	v = &vault{}
	v.says(func(context.Context) (rsscript.Credentials, error) {
		started <- struct{}{}
		<-goOn
		return rsscript.Credentials{Username: "app", Password: "secret"}, nil
	})
	client = open(t, server.url, rsscript.WithCredentials(v.ask), rsscript.WithLazyConnect())
	result := make(chan error, 1)
	go func() { result <- client.Do(ctx, "PING").Err() }()
	<-started
	noError(t, client.Close())
	checkError(t, <-result, rsscript.ErrClosed)
	close(goOn)
	goroutinesGone()
}

func TestCredentialsThatCloseTheClient(t *testing.T) {
	server, setPassword := guarded(t)
	setPassword("secret")
	goroutinesGone := noGoroutinesLeft(t)
	v := &vault{}
	clients := make(chan *rsscript.Client, 1)
	v.says(func(context.Context) (rsscript.Credentials, error) {
		(<-clients).Close()
		return rsscript.Credentials{Username: "app", Password: "secret"}, nil
	})
	client := open(t, server.url, rsscript.WithCredentials(v.ask), rsscript.WithLazyConnect())
	clients <- client
	checkError(t, client.Do(ctx, "PING").Err(), rsscript.ErrClosed)
	goroutinesGone()
}

func TestCredentialsWhileManyCall(t *testing.T) {
	server, setPassword := guarded(t)
	setPassword("secret")
	v := &vault{}
	v.gives(rsscript.Credentials{Username: "app", Password: "secret", Lifetime: time.Second})
	client := open(t, server.url, rsscript.WithCredentials(v.ask), rsscript.WithSharedConnections(3))
	add := client.Script("return redis.call('INCR', KEYS[1])")
	key := keyOf(t)
	const callers, each = 16, 200
	var group sync.WaitGroup
	for range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			for range each {
				if err := add.Call(ctx, []string{key}).Err(); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	for range 20 {
		noError(t, client.Reauthenticate(ctx))
	}
	group.Wait()
	check(t, int64(callers*each+1))(add.Call(ctx, []string{key}).Int64())
}

func TestCredentialsAreNotShown(t *testing.T) {
	given := rsscript.Credentials{Username: "app", Password: "secret", Lifetime: time.Minute}
	var shown strings.Builder
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%d", "%q", "%x"} {
		fmt.Fprintf(&shown, format+format, given, &given)
	}
	text, err := json.Marshal(given)
	noError(t, err)
	shown.Write(text)
	slog.New(slog.NewTextHandler(&shown, nil)).Info("given", "given", given)
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("given", "given", &given)
	if strings.Contains(shown.String(), "secret") || strings.Contains(shown.String(), "736563726574") ||
		!strings.Contains(shown.String(), "app") {
		t.Fatal(shown.String())
	}
}

func TestCredentialsAndClientsAreCollected(t *testing.T) {
	server, setPassword := guarded(t)
	setPassword("secret")
	const count = 10
	var collected atomic.Int64
	for range count {
		var client *rsscript.Client
		password := &struct{ text string }{"secret"}
		runtime.SetFinalizer(password, func(*struct{ text string }) { collected.Add(1) })
		client = open(t, server.url, rsscript.WithCredentials(func(context.Context, string) (rsscript.Credentials, error) {
			if password.text == "" {
				client.Close()
			}
			return rsscript.Credentials{Username: "app", Password: password.text}, nil
		}))
		client.Close()
	}
	eventually(t, "the functions of closed clients are collected", func() bool {
		runtime.GC()
		return collected.Load() >= count-1
	})
}

// outsideGo tells how often a text stands in memory that is none of Go's, where the system shows that.
func outsideGo(t testing.TB, text string) (count int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return 0
	}
	memory, err := os.Open("/proc/self/mem")
	noError(t, err)
	defer memory.Close()
	const large = 256 << 20
	ofGo := uint64(uintptr(unsafe.Pointer(&make([]byte, 64)[0]))) >> 32
	for _, line := range strings.Split(string(maps), "\n") {
		var from, to uint64
		var rights string
		fmt.Sscanf(line, "%x-%x %s", &from, &to, &rights)
		if strings.HasPrefix(rights, "rw") && from>>32 != ofGo && to-from < large {
			bytes := make([]byte, to-from)
			n, _ := memory.ReadAt(bytes, int64(from))
			count += strings.Count(string(bytes[:n]), text)
		}
	}
	return count
}

// Of a URL the library gets a copy, which is overwritten.
func TestNoCopyOfAURLKeepsItsPassword(t *testing.T) {
	for range 2 {
		password := fmt.Sprintf("the-first-bytes-may-be-gone-%020d", rand.Uint64())
		client, err := rsscript.Open(ctx, "redis://user:"+password+"@127.0.0.1:1")
		if err == nil {
			client.Close()
			t.Fatal("there is a server at port 1")
		}
		if count := outsideGo(t, password[len(password)-16:]); count > 0 {
			t.Fatal(count)
		}
	}
}
