// The figures of scripts, as far as a server can be made to cause them.

package rsscript_test

import (
	"context"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

func TestScriptStats(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url, rsscript.WithScriptStats(2))
	none, err := client.ScriptStats(ctx)
	if noError(t, err); len(none) != 0 {
		t.Fatal(none)
	}
	one := client.Script("return 1", rsscript.Name("one"))
	fails := client.Script("return redis.error_reply('MINE')")
	for range 10 {
		check(t, int64(1))(one.Call(ctx, nil).Int64())
	}
	server.mustRaw(t, "SCRIPT FLUSH")
	check(t, int64(1))(one.Call(ctx, nil).Int64())
	_, err = client.Pipeline().Call(one, nil).Call(one, nil).Exec(ctx)
	noError(t, err)
	for range 2 {
		checkError(t, fails.Call(ctx, nil).Err(), rsscript.ErrServer)
	}
	check(t, int64(3))(client.Script("return 3").Call(ctx, nil).Int64())

	stats, err := client.ScriptStats(ctx)
	noError(t, err)
	equal(t, len(stats), 3)
	latency := stats[0].Latency
	stats[0].Latency = rsscript.Latency{}
	equal(t, stats[0], rsscript.ScriptStats{SHA: one.SHA(), Name: "one", Calls: 13, Loads: 2, Repairs: 1})
	if latency.Count != 11 || latency.Sum <= 0 || latency.P50 <= 0 || latency.P50 > latency.P90 ||
		latency.P90 > latency.P99 || latency.P99 > latency.P999 || latency.P999 > latency.Max {
		t.Fatal(latency)
	}
	var count uint64
	var last time.Duration
	for _, bucket := range latency.Buckets {
		if bucket.UpTo <= last || bucket.Count == 0 {
			t.Fatal(latency.Buckets)
		}
		count, last = count+bucket.Count, bucket.UpTo
	}
	if count != 11 || last != latency.Max {
		t.Fatal(latency)
	}
	if s := stats[1]; s.SHA != fails.SHA() || s.Name != "" || s.Calls != 2 || s.Errors != 2 || s.Indeterminate != 0 {
		t.Fatalf("%+v", s)
	}
	if s := stats[2]; s.SHA != "" || s.Calls != 1 {
		t.Fatalf("%+v", s)
	}

	resume := server.stopped(t)
	defer resume()
	err = leftInFlight(t, client, func(ctx context.Context) error { return one.Call(ctx, nil).Err() })
	checkError(t, err, rsscript.ErrIndeterminate)
	stats, err = client.ScriptStats(ctx)
	if noError(t, err); stats[0].Errors != 1 || stats[0].Indeterminate != 1 {
		t.Fatalf("%+v", stats[0])
	}

	without, err := open(t, url).ScriptStats(ctx)
	if noError(t, err); len(without) != 0 {
		t.Fatal(without)
	}
	client.Close()
	_, err = client.ScriptStats(ctx)
	checkError(t, err, rsscript.ErrClosed)
}
