// Servers that tests start for themselves, and what tests have in common.

package rsscript_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

// url is where the server listens that tests share which neither stop it nor empty it.
var url string

func TestMain(m *testing.M) {
	if way := os.Getenv(endVariable); way != "" {
		endHere(way)
	}
	server, err := startServer()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	url = server.url
	code := m.Run()
	server.stop()
	os.Exit(code)
}

type server struct {
	url     string
	network string
	address string
	dir     string
	process *exec.Cmd
	ended   chan struct{}
	once    sync.Once
}

// startServer starts a redis-server on a Unix socket in a directory of its own, and returns when it answers.
func startServer(options ...string) (*server, error) {
	return startProgram("redis-server", options...)
}

// startProgram does the same with another version of the server.
func startProgram(program string, options ...string) (*server, error) {
	dir, err := os.MkdirTemp("", "rsscript")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "s")
	return runServer(&server{url: "unix://" + socket, network: "unix", address: socket, dir: dir},
		program, append([]string{"--port", "0", "--unixsocket", socket}, options...)...)
}

// startServerOnPort starts one on a free loopback port.
func startServerOnPort(options ...string) (*server, error) {
	return onFreePort(func(port, dir string) (*server, error) {
		address := "127.0.0.1:" + port
		return runServer(&server{url: "redis://" + address, network: "tcp", address: address, dir: dir},
			"redis-server", append([]string{"--port", port, "--bind", "127.0.0.1"}, options...)...)
	})
}

// onFreePort has a server started in a directory of its own, with another port where someone else was quicker.
func onFreePort(start func(port, dir string) (*server, error)) (*server, error) {
	for range 20 {
		// The bus of a cluster takes the port 10,000 above.
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		port := listener.Addr().(*net.TCPAddr).Port
		listener.Close()
		if port > 55000 {
			continue
		}
		dir, err := os.MkdirTemp("", "rsscript")
		if err != nil {
			return nil, err
		}
		server, err := start(fmt.Sprint(port), dir)
		if err == nil {
			return server, nil
		}
		if !strings.Contains(err.Error(), "in use") {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no free port")
}

// runServer starts s, which says where it will be; a file among the arguments comes first.
func runServer(s *server, program string, arguments ...string) (*server, error) {
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.process = exec.Command(program, append(arguments, "--save", "", "--dir", s.dir)...)
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	s.ended = make(chan struct{})
	go func() {
		s.process.Wait()
		close(s.ended)
	}()
	for {
		if _, err := s.raw("PING"); err == nil {
			return s, nil
		}
		select {
		case <-s.ended:
			text, _ := os.ReadFile(log.Name())
			os.RemoveAll(s.dir)
			return nil, fmt.Errorf("the server did not start: %s", text)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// raw sends a command on a connection of its own, and gives the first line of the answer.
func (s *server) raw(command string) (string, error) {
	conn, err := net.Dial(s.network, s.address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

func (s *server) mustRaw(t testing.TB, command string) string {
	t.Helper()
	line, err := s.raw(command)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// program is the path of another version of the server, such as valkey-8.1; scripts/servers fetches what is not there.
func program(t testing.TB, name string) string {
	t.Helper()
	command := exec.Command("../../scripts/servers")
	command.Stderr = os.Stderr
	list, err := command.Output()
	if err != nil {
		t.Fatalf("scripts/servers: %v", err)
	}
	for _, line := range strings.Split(string(list), "\n") {
		if rest, found := strings.CutPrefix(line, name+" "); found {
			return rest[:strings.LastIndex(rest, " ")]
		}
	}
	t.Fatalf("scripts/servers knows no %s", name)
	return ""
}

// stopped has the server do nothing, with its connections open, until the returned function is called.
func (s *server) stopped(t testing.TB) (resume func()) {
	t.Helper()
	signal := func(signal syscall.Signal) {
		if err := s.process.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	return func() { signal(syscall.SIGCONT) }
}

// kill ends the server at once.
func (s *server) kill() {
	s.process.Process.Kill()
	<-s.ended
}

func (s *server) stop() {
	s.once.Do(func() {
		s.kill()
		os.RemoveAll(s.dir)
	})
}

// ownServer is a server for a test alone.
func ownServer(t testing.TB, options ...string) *server {
	t.Helper()
	server, err := startServer(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.stop)
	return server
}

func open(t testing.TB, url string, options ...rsscript.Option) *rsscript.Client {
	t.Helper()
	client, err := rsscript.Open(context.Background(), url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

var keys atomic.Int64

// keyOf is a key that nobody else uses, nor the same test when it is run again.
func keyOf(t testing.TB) string { return fmt.Sprint(t.Name(), keys.Add(1)) }

// eventually waits for a condition. Generously: the machine may be busy with other tests.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("this did not come about: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// noGoroutinesLeft returns a function that waits until there are no more goroutines than now.
func noGoroutinesLeft(t testing.TB) func() {
	before := runtime.NumGoroutine()
	return func() {
		t.Helper()
		eventually(t, fmt.Sprintf("no more than %d goroutines", before), func() bool {
			return runtime.NumGoroutine() <= before
		})
	}
}

// threads is the number of this process's.
func threads(t testing.TB) int {
	t.Helper()
	if tasks, err := os.ReadDir("/proc/self/task"); err == nil {
		return len(tasks)
	}
	// Where there is no /proc: those that Go has made, of which none is taken off again.
	return pprof.Lookup("threadcreate").Count()
}

// silentServer accepts connections and never answers; the URL.
func silentServer(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return "redis://" + listener.Addr().String()
}
