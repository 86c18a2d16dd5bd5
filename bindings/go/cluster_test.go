// A cluster of three primaries: slots, routes, pipelines over several servers.

package rsscript_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

// startCluster starts three primaries and returns the cluster's URL when all of them serve all slots.
func startCluster(t *testing.T) string {
	t.Helper()
	var addresses []string
	var servers []*server
	for range 3 {
		server, err := startServerOnPort("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.stop)
		servers = append(servers, server)
		addresses = append(addresses, server.address)
	}
	arguments := append([]string{"--cluster", "create"}, addresses...)
	output, err := exec.Command("redis-cli", append(arguments, "--cluster-yes")...).CombinedOutput()
	if err != nil {
		t.Fatalf("the cluster did not form: %v\n%s", err, output)
	}
	for _, server := range servers {
		eventually(t, "the cluster is up", func() bool {
			port := strings.TrimPrefix(server.address, "127.0.0.1:")
			output, err := exec.Command("redis-cli", "-p", port, "cluster", "info").Output()
			return err == nil && strings.Contains(string(output), "cluster_state:ok") &&
				strings.Contains(string(output), "cluster_known_nodes:3")
		})
	}
	return "redis+cluster://" + strings.Join(addresses, ",")
}

func TestCluster(t *testing.T) {
	client := open(t, startCluster(t))
	set := client.Script("return redis.call('SET', KEYS[1], ARGV[1])")
	pipeline := client.Pipeline()
	for i := range 100 {
		key := fmt.Sprint("key", i)
		check(t, "OK")(set.Call(ctx, []string{key}, i).Text())
		pipeline.Do("GET", key)
	}
	results, err := pipeline.Exec(ctx)
	if err != nil || len(results) != 100 {
		t.Fatal(results, err)
	}
	for i, result := range results {
		check(t, int64(i))(result.Int64())
	}
	if err := checkError(t, set.Call(ctx, []string{"a", "b"}).Err(), rsscript.ErrCrossSlot); !err.NotExecuted {
		t.Fatal(err)
	}
	_, err = client.Transaction().Do("SET", "a", 1).Do("SET", "b", 1).Exec(ctx)
	checkError(t, err, rsscript.ErrCrossSlot)
	// It speaks of what Go's users have.
	if err := checkError(t, client.Do(ctx, "DBSIZE").Err(), rsscript.ErrNoRoute); strings.Contains(err.Message, "rs_") ||
		!strings.Contains(err.Message, "Client.WithRouteKey") {
		t.Fatal(err)
	}

	all, err := client.WithRouteAll()
	if err != nil {
		t.Fatal(err)
	}
	sizes, err := all.Do(ctx, "DBSIZE").Map()
	if err != nil || len(sizes) != 3 {
		t.Fatal(sizes, err)
	}
	var sum int64
	for node, size := range sizes {
		n, err := size.Int64()
		if err != nil {
			t.Fatal(err)
		}
		sum += n
		one, err := client.WithRouteNode(node)
		if err != nil {
			t.Fatal(err)
		}
		check(t, n)(one.Do(ctx, "DBSIZE").Int64())
	}
	if sum != 100 {
		t.Fatal(sizes)
	}
	_, err = all.Pipeline().Do("DBSIZE").Exec(ctx)
	checkError(t, err, rsscript.ErrNoRoute)
	byKey, err := client.WithRouteKey("key1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := byKey.Do(ctx, "DBSIZE").Int64(); err != nil {
		t.Fatal(err)
	}

	if err := client.ScriptLoad(ctx, set); err != nil {
		t.Fatal(err)
	}
	check(t, []bool{true})(client.ScriptExists(ctx, set.SHA()))
	if err := client.ScriptFlush(ctx, rsscript.FlushSync); err != nil {
		t.Fatal(err)
	}
	check(t, []bool{false})(client.ScriptExists(ctx, set.SHA()))
	check(t, "OK")(set.Call(ctx, []string{"key1"}, 1).Text())
}
