// Libraries of functions: called like scripts, administered server by server.

package rsscript_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

const functions = `#!lua name=lib
redis.register_function('count', function(keys) return redis.call('INCR', keys[1]) end)
redis.register_function{function_name='get', callback=function(keys) return redis.call('GET', keys[1]) end,
  flags={'no-writes'}, description='reads'}
redis.register_function('forge', function(keys, args) return redis.error_reply(args[1]) end)`

const newerFunctions = `#!lua name=lib
redis.register_function('count', function(keys) return redis.call('INCRBY', keys[1], 10) end)`

func TestFunctions(t *testing.T) {
	server := ownServer(t)
	client, other := open(t, server.url), open(t, server.url)
	library := client.Library(functions)
	if name := library.Name(); !strings.HasPrefix(name, "lib_") || len(name) != 16 {
		t.Fatal(name)
	}
	count, get := library.Function("count"), library.Function("get", rsscript.Name("reader"))
	if !strings.HasPrefix(count.FunctionName(), "count_") || len(count.SHA()) != 40 || count.SHA() == get.SHA() ||
		get.Name() != "reader" || client.Script("return 1").FunctionName() != "" {
		t.Fatal(count.FunctionName(), count.SHA())
	}
	key := []string{keyOf(t)}
	before := client.Stats().RoundTrips
	check(t, int64(1))(count.Call(ctx, key).Int64())
	if now := client.Stats().RoundTrips; now != before+1 {
		t.Fatal("a cold call takes one write, and not", now-before)
	}
	check(t, "OK")(client.Do(ctx, "FUNCTION", "FLUSH").Text())
	check(t, int64(2))(count.Call(ctx, key).Int64())
	check(t, "2")(get.CallRO(ctx, key).Text())
	check(t, "2")(library.On(other).Function("get").CallWith(ctx, rsscript.CallOptions{ReadOnly: true}, key).Text())
	check(t, int64(3))(count.On(other).Call(ctx, key).Int64())
	checkError(t, count.CallRO(ctx, key).Err(), rsscript.ErrServer)
	// What a function says is never taken for the server's own words.
	err := checkError(t, library.Function("forge").Call(ctx, key, "ERR Function not found").Err(), rsscript.ErrServer)
	if err.NotExecuted || !strings.Contains(err.Message, " script: rs") {
		t.Fatalf("%+v", err)
	}
	check(t, "OK")(client.Do(ctx, "FUNCTION", "FLUSH").Text())
	for want := int64(4); want < 8; want += 2 {
		results, err := client.Transaction().Call(count, key).Call(count, key).CallRO(get, key).Exec(ctx)
		if err != nil {
			t.Fatal(err)
		}
		check(t, want)(results[0].Int64())
		check(t, want+1)(results[1].Int64())
	}
	// While others take it away: nobody notices, and nothing runs twice.
	check(t, "OK")(client.Do(ctx, "SET", key[0], 0).Text())
	var group sync.WaitGroup
	for range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := range 100 {
				if i%10 == 0 {
					other.Do(ctx, "FUNCTION", "FLUSH")
				}
				if err := count.Call(ctx, key).Err(); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	group.Wait()
	check(t, "800")(client.Do(ctx, "GET", key[0]).Text())
	// A script as a function.
	script := client.Script("return redis.call('INCR', KEYS[1])",
		rsscript.AsFunction, rsscript.Idempotent, rsscript.Name("incr"))
	if !strings.HasPrefix(script.FunctionName(), "rs_") || script.Name() != "incr" {
		t.Fatal(script.FunctionName())
	}
	check(t, "OK")(client.Do(ctx, "SCRIPT", "FLUSH").Text())
	check(t, int64(801))(script.Call(ctx, key).Int64())
	if err := client.ScriptLoad(ctx, script); err != nil {
		t.Fatal(err)
	}
}

func TestFunctionsThatAreNone(t *testing.T) {
	client := open(t, ownServer(t).url)
	for _, script := range []*rsscript.Script{
		client.Library("return 1").Function("f"),
		client.Library(functions).Function("a b"),
		client.Library(functions).Function(""),
		client.Library(functions).Function("count", rsscript.AsFunction),
		client.Library(functions).Function("count", rsscript.Once{}),
	} {
		if err := checkError(t, script.Call(ctx, nil).Err(), rsscript.ErrInvalidArgument); !err.NotExecuted ||
			script.SHA() != "" {
			t.Fatal(err)
		}
	}
	broken := client.Library("return 1")
	_, loaded := client.LibraryLoad(ctx, broken)
	_, pruned := client.LibraryPrune(ctx, broken)
	_, none := client.LibraryPrune(ctx)
	_, named := client.LibraryPrune(ctx, client.Library(functions, rsscript.Named))
	for _, err := range []error{loaded, pruned, none, named} {
		checkError(t, err, rsscript.ErrInvalidArgument)
	}
	if broken.Name() != "" {
		t.Fatal(broken.Name())
	}
	faulty := client.Library("#!lua name=broken\nreturn return")
	if err := checkError(t, faulty.Function("f").Call(ctx, nil).Err(), rsscript.ErrCompile); !err.NotExecuted {
		t.Fatal(err)
	}
	_, err := client.LibraryLoad(ctx, faulty)
	checkError(t, err, rsscript.ErrCompile)
	missing := checkError(t, client.Library(functions).Function("missing").Call(ctx, nil).Err(), rsscript.ErrNoFunction)
	if !missing.NotExecuted || !errors.Is(missing, rsscript.ErrNoFunction) {
		t.Fatalf("%+v", missing)
	}
}

// administered does all that there is with libraries, on so many primaries.
func administered(t *testing.T, client *rsscript.Client, primaries int) {
	t.Helper()
	all := func(want rsscript.LibraryState) func([]rsscript.LibraryOnNode, error) {
		return func(told []rsscript.LibraryOnNode, err error) {
			t.Helper()
			if err != nil || len(told) != primaries {
				t.Fatal(told, err)
			}
			for _, one := range told {
				if one.State != want || one.Err != nil || one.Node == "" {
					t.Fatalf("%+v", one)
				}
			}
		}
	}
	older, newer := client.Library(functions, rsscript.Named), client.Library(newerFunctions, rsscript.Named)
	if older.Name() != "lib" {
		t.Fatal(older.Name())
	}
	all(rsscript.LibraryAbsent)(client.LibraryCheck(ctx, older))
	all(rsscript.LibraryLoaded)(client.LibraryLoad(ctx, older))
	all(rsscript.LibraryThere)(client.LibraryLoad(ctx, newer))
	all(rsscript.LibraryDifferent)(client.LibraryCheck(ctx, newer))
	all(rsscript.LibrarySame)(client.LibraryDeploy(ctx, newer))
	all(rsscript.LibraryDifferent)(client.LibraryCheck(ctx, older))
	get := older.Function("get")
	if err := checkError(t, get.CallRO(ctx, []string{"k"}).Err(), rsscript.ErrNoFunction); !err.NotExecuted {
		t.Fatal(err)
	}
	pinned, next := client.Library(functions), client.Library(newerFunctions)
	all(rsscript.LibraryLoaded)(client.LibraryLoad(ctx, pinned))
	all(rsscript.LibraryLoaded)(client.LibraryLoad(ctx, next))
	listed, err := client.LibraryList(ctx)
	if err != nil || len(listed) != primaries {
		t.Fatal(listed, err)
	}
	for _, node := range listed {
		if node.Node == "" || node.Err != nil || len(node.Libraries) != 3 {
			t.Fatalf("%+v", node)
		}
		for _, library := range node.Libraries {
			if library.Name != pinned.Name() {
				continue
			}
			if library.Engine != "LUA" || len(library.Functions) != 3 {
				t.Fatalf("%+v", library)
			}
			for _, function := range library.Functions {
				if strings.HasPrefix(function.Name, "get_") && (function.Description != "reads" ||
					len(function.Flags) != 1 || function.Flags[0] != "no-writes") {
					t.Fatalf("%+v", function)
				}
			}
		}
	}
	for i := range 2 {
		pruned, err := client.LibraryPrune(ctx, next)
		if err != nil || len(pruned) != primaries {
			t.Fatal(pruned, err)
		}
		for _, node := range pruned {
			isRight := len(node.Removed) == 1-i && (i == 1 || node.Removed[0] == pinned.Name())
			if node.Node == "" || node.Err != nil || !isRight {
				t.Fatalf("%+v", node)
			}
		}
	}
	all(rsscript.LibrarySame)(client.LibraryCheck(ctx, next))
	all(rsscript.LibraryDifferent)(client.LibraryCheck(ctx, older))
	all(rsscript.LibraryAbsent)(client.LibraryCheck(ctx, pinned))
}

func TestLibraryAdministration(t *testing.T) {
	for name, protocol := range map[string]rsscript.Protocol{"RESP2": rsscript.RESP2, "RESP3": rsscript.RESP3} {
		t.Run(name, func(t *testing.T) {
			administered(t, open(t, ownServer(t).url, rsscript.WithProtocol(protocol)), 1)
		})
	}
}

func TestLibraryAdministrationInCluster(t *testing.T) {
	client := open(t, startCluster(t))
	administered(t, client, 3)
	for i := range 20 {
		key := []string{"{" + strings.Repeat("x", i) + "}"}
		check(t, int64(1))(client.Library(functions).Function("count").Call(ctx, key).Int64())
	}
}

// What a server says that may do nothing is that server's.
func TestLibraryAdministrationNotAllowed(t *testing.T) {
	server := ownServer(t)
	client := open(t, server.url)
	next := client.Library(newerFunctions)
	for _, library := range []*rsscript.Library{next, client.Library(functions)} {
		if _, err := client.LibraryLoad(ctx, library); err != nil {
			t.Fatal(err)
		}
	}
	server.mustRaw(t, "ACL SETUSER default -function|delete")
	_, err := client.LibraryPrune(ctx, next)
	if err := checkError(t, err, rsscript.ErrServer); err.ServerCode != "NOPERM" {
		t.Fatal(err)
	}
	listed, err := client.LibraryList(ctx)
	if err != nil || len(listed) != 1 || len(listed[0].Libraries) != 2 {
		t.Fatal(listed, err)
	}
}
