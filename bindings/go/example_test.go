package rsscript_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

func Example() {
	ctx := context.Background()
	client, err := rsscript.Open(ctx, url) // such as redis://127.0.0.1:6379
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	multiply := client.Script("return redis.call('GET', KEYS[1]) * ARGV[1]")
	if err := client.Do(ctx, "SET", "foo", 2).Err(); err != nil {
		log.Fatal(err)
	}
	product, err := multiply.Call(ctx, []string{"foo"}, 5).Int64()
	fmt.Println(product, err)
	// Output: 10 <nil>
}

func ExampleScript_On() {
	ctx := context.Background()
	first, err := rsscript.Open(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer first.Close()
	second, err := rsscript.Open(ctx, url, rsscript.WithClientName("second"))
	if err != nil {
		log.Fatal(err)
	}
	defer second.Close()

	add := first.Script("return ARGV[1] + ARGV[2]")
	fmt.Println(add.Call(ctx, nil, 1, 2))
	fmt.Println(add.On(second).Call(ctx, nil, 3, 4))
	// Output:
	// 3
	// 7
}

func ExampleClient_Pipeline() {
	ctx := context.Background()
	client, err := rsscript.Open(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	multiply := client.Script("return redis.call('GET', KEYS[1]) * ARGV[1]")
	results, err := client.Pipeline().
		Do("SET", "foo", 5).
		Call(multiply, []string{"foo"}, 5).
		Call(multiply, []string{"no such key"}, 5).
		Exec(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, result := range results[:2] {
		fmt.Println(result.Text())
	}
	fmt.Println(errors.Is(results[2].Err(), rsscript.ErrServer))
	// Output:
	// OK <nil>
	// 25 <nil>
	// true
}

func ExampleClient_Transaction() {
	ctx := context.Background()
	client, err := rsscript.Open(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	multiply := client.Script("return redis.call('GET', KEYS[1]) * ARGV[1]")
	results, err := client.Transaction().Do("SET", "foo", 5).Call(multiply, []string{"foo"}, 5).Exec(ctx)
	fmt.Println(results, err)
	// Output: ["OK" 25] <nil>
}

func ExampleWithLog() {
	// Connections lost, and attempts to connect that failed.
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx := context.Background()
	client, err := rsscript.Open(ctx, url, rsscript.WithLog(logger.With("component", "scripts")))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println(client.Do(ctx, "PING").Text())
	// Output: PONG <nil>
}

func ExampleClient_ScriptShow() {
	ctx := context.Background()
	client, err := rsscript.Open(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	source, err := client.ScriptShow(ctx, client.Script("return 1").SHA())
	switch {
	case errors.Is(err, rsscript.ErrNotSupported):
		fmt.Println("no Valkey 8")
	case errors.Is(err, rsscript.ErrNil):
		fmt.Println("no such script")
	default:
		fmt.Println(source, err)
	}
	// Output: no Valkey 8
}

// TLS, with an authority of one's own and a client certificate.
func ExampleOpen_tls() {
	client, err := rsscript.Open(context.Background(), "rediss://cache.example:6379",
		rsscript.WithTLSCAFile("/etc/ssl/cache-ca.crt"), rsscript.WithTLSClientCert("/etc/ssl/me.crt", "/etc/ssl/me.key"))
	if errors.Is(err, rsscript.ErrTLS) {
		log.Fatal("the server is not who it should be, or wants another certificate: ", err)
	}
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
}

// The primary of a service that sentinels watch, followed on failover; read-only calls run on its replicas.
func ExampleOpen_sentinel() {
	client, err := rsscript.Open(context.Background(),
		"redis+sentinel://10.0.0.1:26379,10.0.0.2:26379,10.0.0.3:26379/orders",
		rsscript.WithPassword("the servers'"), rsscript.WithSentinelAuth("", "the sentinels'"),
		rsscript.WithReadFrom(rsscript.PreferReplica))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
}

func ExampleError() {
	client, err := rsscript.Open(context.Background(), url)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err = client.Do(ctx, "BLPOP", "nobody pushes to it", 0).Err()

	var failure *rsscript.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Status, failure.Indeterminate, failure.NotExecuted)
	}
	fmt.Println(errors.Is(err, rsscript.ErrIndeterminate), errors.Is(err, context.DeadlineExceeded))
	// Output:
	// RS_ERR_INDETERMINATE true false
	// true true
}

func ExampleResult_Scan() {
	ctx := context.Background()
	client, err := rsscript.Open(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	var name string
	var visits int
	client.Do(ctx, "HSET", "user:2", "name", "Ada", "visits", 3)
	err = client.Do(ctx, "HMGET", "user:2", "name", "visits").Scan(&name, &visits)
	fmt.Println(name, visits, err)
	// Output: Ada 3 <nil>
}

func ExampleAs() {
	ctx := context.Background()
	client, err := rsscript.Open(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	type user struct {
		Name   string `redis:"full name"`
		Visits int
		City   *string
	}
	client.Do(ctx, "HSET", "user:3", "full name", "Ada", "visits", 3)
	ada, err := rsscript.As[user](client.Do(ctx, "HGETALL", "user:3"))
	fmt.Println(ada.Name, ada.Visits, ada.City, err)
	// Output: Ada 3 <nil> <nil>
}

func ExampleResult_All() {
	ctx := context.Background()
	client, err := rsscript.Open(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	for element := range client.Script("return {1, 2, 3}").Call(ctx, nil).All() {
		fmt.Println(element.Int64())
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 3 <nil>
}

func ExampleResult_Map() {
	ctx := context.Background()
	client, err := rsscript.Open(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	client.Do(ctx, "HSET", "user:1", "name", "Ada", "visits", 3)
	user, err := client.Do(ctx, "HGETALL", "user:1").Map()
	if err != nil {
		log.Fatal(err)
	}
	visits, err := user["visits"].Int64()
	fmt.Println(user["name"], visits, err)
	// Output: "Ada" 3 <nil>
}

// A password that a vault gives, for a quarter of an hour at a time.
func ExampleWithCredentials() {
	ctx := context.Background()
	vault := func(context.Context) (token string, expiry time.Time, err error) {
		return "", time.Now().Add(15 * time.Minute), errors.New("the vault is sealed")
	}
	ask := func(ctx context.Context, node string) (rsscript.Credentials, error) {
		token, expiry, err := vault(ctx)
		return rsscript.Credentials{Username: "app", Password: token, Lifetime: time.Until(expiry)}, err
	}
	_, err := rsscript.Open(ctx, url, rsscript.WithCredentials(ask))
	fmt.Println(errors.Is(err, rsscript.ErrAuth))
	// Output: true
}

func ExampleScript_CallWith() {
	ctx := context.Background()
	client, err := rsscript.Open(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	size := client.Script("return redis.call('DBSIZE')")
	options := rsscript.CallOptions{ReadOnly: true, ReadFrom: rsscript.PreferReplica, Route: rsscript.RouteKey("foo")}
	_, err = size.CallWith(ctx, options, nil).Int64()
	fmt.Println(err)
	// Output: <nil>
}

func ExampleClient_ScriptStats() {
	ctx := context.Background()
	client, err := rsscript.Open(ctx, url, rsscript.WithScriptStats(100))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	one := client.Script("return 1", rsscript.Name("one"))
	for range 3 {
		one.Call(ctx, nil)
	}
	all, err := client.ScriptStats(ctx)
	for _, stats := range all {
		fmt.Println(stats.Name, stats.Calls, stats.Errors, stats.Latency.P99 > 0)
	}
	fmt.Println(err)
	// Output:
	// one 3 0 true
	// <nil>
}
