// Options of single calls: where they go, and what is known of them.

package rsscript_test

import (
	"testing"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

// replicated is the URL of a cluster of a primary and its replica.
func replicated(t *testing.T) (url string) {
	t.Helper()
	start := func(options ...string) *server {
		server, err := startServerOnPort(append(options, "--cluster-enabled", "yes",
			"--repl-diskless-sync-delay", "0", "--cluster-node-timeout", "60000")...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.stop)
		return server
	}
	primary, replica := start(), start()
	admin := open(t, primary.url)
	noError(t, admin.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err())
	ofReplica := open(t, replica.url)
	host, port := "127.0.0.1", primary.address[len("127.0.0.1:"):]
	noError(t, ofReplica.Do(ctx, "CLUSTER", "MEET", host, port).Err())
	id, err := admin.Do(ctx, "CLUSTER", "MYID").Text()
	noError(t, err)
	eventually(t, "it replicates", func() bool { return ofReplica.Do(ctx, "CLUSTER", "REPLICATE", id).Err() == nil })
	eventually(t, "the replica is known and there", func() bool {
		slots, err := admin.Do(ctx, "CLUSTER", "SLOTS").Slice()
		if err != nil || len(slots) != 1 || slots[0].Len() != 4 {
			return false
		}
		finds := ofReplica.Script("return string.find(redis.call('INFO', 'replication'), 'master_link_status:up')")
		up, err := finds.CallRO(ctx, nil).Int64()
		return err == nil && up > 0
	})
	return "redis+cluster://" + primary.address
}

// role is what the server that it runs on is.
const role = "return string.match(redis.call('INFO', 'replication'), 'role:(%a+)')"

func TestCallOptions(t *testing.T) {
	url := replicated(t)
	client := open(t, url)
	script := client.Script(role)
	key := []string{"a"}
	is := func(want string, options rsscript.CallOptions) {
		t.Helper()
		check(t, want)(script.CallWith(ctx, options, key).Text())
	}
	is("master", rsscript.CallOptions{})
	is("master", rsscript.CallOptions{ReadOnly: true})
	is("master", rsscript.CallOptions{ReadFrom: rsscript.Replica})
	is("master", rsscript.CallOptions{ReadOnly: true, ReadFrom: rsscript.Primary})
	is("slave", rsscript.CallOptions{ReadOnly: true, ReadFrom: rsscript.Replica})
	is("slave", rsscript.CallOptions{ReadOnly: true, ReadFrom: rsscript.PreferReplica})
	is("slave", rsscript.CallOptions{
		ReadOnly: true, Idempotent: true, ReadFrom: rsscript.Replica,
		Route: rsscript.RouteKey("b")})
	noError(t, client.Do(ctx, "SET", "a", 1).Err())
	eventually(t, "a command is read from the replica", func() bool {
		n, err := client.DoWith(ctx, rsscript.CallOptions{ReadOnly: true, ReadFrom: rsscript.Replica}, "GET", "a").Int64()
		return err == nil && n == 1
	})

	// The client's own, which a call may undo; and those of a view.
	replicas := open(t, url, rsscript.WithReadFrom(rsscript.Replica))
	own := script.On(replicas)
	check(t, "slave")(own.CallRO(ctx, key).Text())
	check(t, "master")(own.CallWith(ctx, rsscript.CallOptions{ReadOnly: true, ReadFrom: rsscript.Primary}, key).Text())
	check(t, "slave")(script.On(open(t, url, rsscript.WithReadFrom(rsscript.PreferReplica))).CallRO(ctx, key).Text())
	view, err := client.With(rsscript.Replica, rsscript.RouteKey("a"))
	noError(t, err)
	check(t, "slave")(script.On(view).CallRO(ctx, nil).Text())

	// Routes.
	for _, route := range []rsscript.Route{
		rsscript.RouteAny(), rsscript.RouteKey("a"), rsscript.RouteSlot(16383),
		rsscript.RouteNode(url[len("redis+cluster://"):]),
	} {
		check(t, "master")(script.CallWith(ctx, rsscript.CallOptions{Route: route}, nil).Text())
	}
	all, err := client.DoWith(ctx, rsscript.CallOptions{Route: rsscript.RouteAll()}, "DBSIZE").Map()
	if noError(t, err); len(all) != 1 {
		t.Fatal(all)
	}
	outside := rsscript.CallOptions{Route: rsscript.RouteSlot(16384)}
	checkError(t, client.DoWith(ctx, outside, "DBSIZE").Err(), rsscript.ErrInvalidArgument)
	checkError(t, script.CallWith(ctx, rsscript.CallOptions{ReadFrom: 4}, nil).Err(), rsscript.ErrInvalidArgument)
	checkError(t, script.CallWith(ctx, rsscript.CallOptions{ReadFrom: -1}, nil).Err(), rsscript.ErrInvalidArgument)

	// Items of pipelines.
	writes := client.Script("return redis.call('INCR', KEYS[1])")
	results, err := client.Pipeline().CallWith(rsscript.CallOptions{ReadOnly: true}, script, key).
		DoWith(rsscript.CallOptions{Idempotent: true}, "INCR", "a").
		CallWith(rsscript.CallOptions{ReadOnly: true}, writes, key).Exec(ctx)
	noError(t, err)
	check(t, "master")(results[0].Text())
	check(t, int64(2))(results[1].Int64())
	checkError(t, results[2].Err(), rsscript.ErrServer)
	for _, options := range []rsscript.CallOptions{{ReadFrom: rsscript.Replica}, {Route: rsscript.RouteAny()}} {
		_, err = client.Pipeline().DoWith(options, "PING").Exec(ctx)
		checkError(t, err, rsscript.ErrInvalidArgument)
		_, err = client.Pipeline().CallWith(options, script, nil).Exec(ctx)
		checkError(t, err, rsscript.ErrInvalidArgument)
	}
}

func TestIdempotentCalls(t *testing.T) {
	server := ownServer(t)
	client, admin := open(t, server.url), open(t, server.url)
	blocked := func() bool {
		const waiting = "return tonumber(string.match(redis.call('INFO', 'clients'), 'blocked_clients:(%d+)'))"
		n, err := admin.Script(waiting).Call(ctx, nil).Int64()
		return err == nil && n == 1
	}
	for _, idempotent := range []bool{false, true} {
		result := make(chan error, 1)
		go func() {
			result <- client.DoWith(ctx, rsscript.CallOptions{Idempotent: idempotent}, "BLPOP", "list", 0).Err()
		}()
		eventually(t, "it waits", blocked)
		noError(t, admin.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err())
		if !idempotent {
			checkError(t, <-result, rsscript.ErrIndeterminate)
			continue
		}
		eventually(t, "it waits again", blocked)
		noError(t, admin.Do(ctx, "RPUSH", "list", 1).Err())
		noError(t, <-result)
	}
}
