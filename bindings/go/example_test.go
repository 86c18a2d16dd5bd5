package rsscript_test

import (
	"context"
	"errors"
	"fmt"
	"log"
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

func ExampleError() {
	client, err := rsscript.Open(context.Background(), url)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	err = client.Script("for i = 1, 5e7 do end").Call(ctx, nil).Err()

	var failure *rsscript.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Status, failure.Indeterminate, failure.NotExecuted)
	}
	fmt.Println(errors.Is(err, rsscript.ErrIndeterminate), errors.Is(err, context.DeadlineExceeded))
	// Output:
	// RS_ERR_INDETERMINATE true false
	// true true
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
