// A primary and its replica behind three sentinels: found, followed on failover, and with passwords or TLS everywhere.

package rsscript_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

const (
	serviceName      = "test-service"
	serverPassword   = "p@ss/w:rd%"
	sentinelPassword = "s3ntinel"
)

// where tells the port of the server that it runs on.
const where = "return string.match(redis.call('INFO', 'server'), 'tcp_port:(%d+)')"

// service is what three sentinels watch.
type service struct {
	authority          *authority // nil without TLS
	pair               pair
	sentinels, servers []*member
}

// member is a server or a sentinel, with a client that asks it through its socket.
type member struct {
	*server
	port string
	ask  *rsscript.Client
}

// startService starts a primary, a replica and the sentinels, and returns when each of these knows all the others.
func startService(t *testing.T, authority *authority) *service {
	t.Helper()
	s := &service{authority: authority}
	if authority != nil {
		s.pair = authority.issue(t, "server", "127.0.0.1", time.Hour)
	}
	primary := s.start(t, "", serverPassword)
	s.servers = []*member{primary, s.start(t, "", serverPassword, "--replicaof", "127.0.0.1 "+primary.port)}
	config := fmt.Sprintf(`sentinel monitor %[1]s 127.0.0.1 %[2]s 2
sentinel down-after-milliseconds %[1]s 2000
sentinel failover-timeout %[1]s 3000
sentinel auth-pass %[1]s "%[3]s"
`, serviceName, primary.port, serverPassword)
	for range 3 {
		sentinel := s.start(t, config, sentinelPassword)
		s.sentinels = append(s.sentinels, sentinel)
		// They ask once a second otherwise, and take less for no sign of life.
		check(t, "OK")(sentinel.ask.Do(ctx, "SENTINEL", "DEBUG", "PING-PERIOD", 300, "INFO-PERIOD", 500, "ASK-PERIOD", 100, "PUBLISH-PERIOD", 100).Text())
		check(t, "OK")(sentinel.ask.Do(ctx, "SENTINEL", "SET", serviceName, "down-after-milliseconds", 800).Text())
	}
	eventually(t, "the sentinels know each other and the replica", func() bool {
		for _, sentinel := range s.sentinels {
			if !sentinel.sees("MASTER", 1, "flags", "master") || !sentinel.sees("SENTINELS", len(s.sentinels)-1, "flags", "sentinel") ||
				!sentinel.sees("REPLICAS", 1, "flags", "slave") || !sentinel.sees("REPLICAS", 1, "master-link-status", "ok") {
				return false
			}
		}
		return true
	})
	for _, sentinel := range s.sentinels {
		// Who has not been told of a promotion within four of these periods takes it back.
		check(t, "OK")(sentinel.ask.Do(ctx, "SENTINEL", "DEBUG", "PUBLISH-PERIOD", 600).Text())
	}
	return s
}

// start starts a sentinel with this configuration, or a server without one.
func (s *service) start(t *testing.T, config, password string, options ...string) *member {
	t.Helper()
	m := &member{}
	var err error
	m.server, err = onFreePort(func(port, dir string) (*server, error) {
		m.port = port
		socket := filepath.Join(dir, "s")
		var arguments []string
		if config != "" {
			file := filepath.Join(dir, "sentinel.conf")
			if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
				return nil, err
			}
			arguments = []string{file, "--sentinel"}
		}
		arguments = append(arguments, "--unixsocket", socket, "--bind", "127.0.0.1", "--requirepass", password, "--masterauth", password,
			"--repl-diskless-sync-delay", "0")
		if s.authority != nil {
			arguments = append(arguments, s.authority.tlsOptions(port, s.pair)...)
		} else {
			arguments = append(arguments, "--port", port)
		}
		return runServer(&server{url: "unix://" + socket, network: "unix", address: socket, dir: dir}, "redis-server", append(arguments, options...)...)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	m.ask = open(t, m.url, rsscript.WithPassword(password), rsscript.WithCallTimeout(20*time.Second))
	return m
}

// sees tells whether a sentinel knows so many primaries, replicas or sentinels, all with this value of a field.
func (m *member) sees(what string, count int, field, value string) bool {
	result := m.ask.Do(ctx, "SENTINEL", what, serviceName)
	of := []rsscript.Result{result}
	if what != "MASTER" {
		var err error
		if of, err = result.Slice(); err != nil {
			return false
		}
	}
	for _, one := range of {
		fields, err := one.Map()
		if err != nil {
			return false
		}
		if found, err := fields[field].Text(); err != nil || found != value {
			return false
		}
	}
	return len(of) == count
}

// primary is the port of the primary by the word of all sentinels, or empty as long as they don't agree.
func (s *service) primary() string {
	var agreed string
	for _, sentinel := range s.sentinels {
		address, err := sentinel.ask.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", serviceName).Strings()
		if err != nil || len(address) != 2 || agreed != "" && agreed != address[1] {
			return ""
		}
		agreed = address[1]
	}
	return agreed
}

func (s *service) url() string {
	var addresses []string
	for _, sentinel := range s.sentinels {
		addresses = append(addresses, "127.0.0.1:"+sentinel.port)
	}
	scheme := "redis"
	if s.authority != nil {
		scheme = "rediss"
	}
	return scheme + "+sentinel://" + strings.Join(addresses, ",") + "/" + serviceName
}

func (s *service) options(more ...rsscript.Option) []rsscript.Option {
	return append([]rsscript.Option{rsscript.WithPassword(serverPassword), rsscript.WithSentinelAuth("", sentinelPassword), rsscript.WithReconnectAttempts(0)}, more...)
}

func TestSentinels(t *testing.T) {
	service := startService(t, nil)
	old, replica := service.servers[0], service.servers[1]
	client := open(t, service.url(), service.options(rsscript.WithCallTimeout(20*time.Second))...)
	script := client.Script(where)
	check(t, old.port)(script.Call(ctx, nil).Text())
	reads, err := client.WithReadFrom(rsscript.Replica)
	if err != nil {
		t.Fatal(err)
	}
	check(t, replica.port)(script.On(reads).CallRO(ctx, nil).Text())
	results, err := client.Transaction().Do("SET", "n", 1).Call(script, []string{"n"}).Exec(ctx)
	if err != nil {
		t.Fatal(err)
	}
	check(t, old.port)(results[1].Text())
	if err := client.ScriptLoad(ctx, script); err != nil {
		t.Fatal(err)
	}
	check(t, []bool{true})(client.ScriptExists(ctx, script.SHA()))

	_, err = rsscript.Open(ctx, service.url(), rsscript.WithPassword(serverPassword), rsscript.WithSentinelAuth("", "wr0ng"))
	for _, secret := range []string{serverPassword, sentinelPassword, "wr0ng"} {
		if err := checkError(t, err, rsscript.ErrAuth); !err.NotExecuted || strings.Contains(err.Message, secret) {
			t.Fatal(err)
		}
	}
	_, err = rsscript.Open(ctx, service.url()+"-of-nobody", service.options()...)
	if err := checkError(t, err, rsscript.ErrConnect); !err.NotExecuted || !strings.Contains(err.Message, serviceName+"-of-nobody") {
		t.Fatal(err)
	}

	service.failover(t, client, func() { old.kill() })
	check(t, replica.port)(script.Call(ctx, nil).Text())
	eventually(t, "all sentinels name the new primary", func() bool { return service.primary() == replica.port })
	results, err = client.Pipeline().Do("SET", "n", 2).Call(script, nil).Exec(ctx)
	if err != nil {
		t.Fatal(err)
	}
	check(t, replica.port)(results[1].Text())
}

// failover has the primary lost while goroutines call scripts, until the replica has answered each of them. No call
// ran twice, and each that failed says whether it may have run.
func (s *service) failover(t *testing.T, client *rsscript.Client, lose func()) {
	t.Helper()
	count := client.Script("return {redis.call('HINCRBY', KEYS[1], ARGV[1], 1), string.match(redis.call('INFO', 'server'), 'tcp_port:(%d+)')}")
	key := keyOf(t)
	var answered atomic.Int64
	var group sync.WaitGroup
	deadline := time.Now().Add(time.Minute)
	for worker := range 20 {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := 0; ; i++ {
				if time.Now().After(deadline) {
					t.Error("no answer by the replica")
					return
				}
				result := count.Call(ctx, []string{key}, fmt.Sprint(worker, " ", i))
				var err *rsscript.Error
				if errors.As(result.Err(), &err) {
					if err.Indeterminate == err.NotExecuted {
						t.Errorf("%+v", err)
						return
					}
					continue
				}
				reply, _ := result.Slice()
				if times, err := reply[0].Int64(); err != nil || times != 1 {
					t.Errorf("call %d %d ran %d times: %v", worker, i, times, err)
				}
				answered.Add(1)
				if port, err := reply[1].Text(); err != nil || port == s.servers[1].port {
					return
				}
			}
		}()
	}
	eventually(t, "calls are answered", func() bool { return answered.Load() > 1000 })
	lose()
	group.Wait()
}

func TestSentinelsOverTLS(t *testing.T) {
	service := startService(t, newAuthority(t))
	trusted := service.options(rsscript.WithTLSCAFile(service.authority.file), rsscript.WithCallTimeout(20*time.Second))
	client := open(t, service.url(), trusted...)
	check(t, service.servers[0].port)(client.Script(where).Call(ctx, nil).Text())
	checkRefused(t, service.url(), service.options()...)
	checkRefused(t, service.url(), service.options(rsscript.WithTLSCAFile(newAuthority(t).file))...)
	service.failover(t, client, func() {
		// Asked again, because it is refused as long as a sentinel has not heard of the replica lately.
		eventually(t, "a sentinel promotes the replica", func() bool {
			if service.primary() == service.servers[0].port {
				service.sentinels[0].ask.Do(ctx, "SENTINEL", "FAILOVER", serviceName)
			}
			return service.primary() == service.servers[1].port
		})
	})
	check(t, service.servers[1].port)(client.Script(where).Call(ctx, nil).Text())
}
