// A real cluster, whose servers keep what they have acknowledged through kill -9, and what can be done to it.

package histories

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long what is bound to come may take. The machine may be busy with other tests.
const patience = 2 * time.Minute

type server struct {
	t       *testing.T
	port    int
	dir     string
	id      string
	options []string
	process *exec.Cmd
}

func (s *server) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// start runs the server and returns when it takes connections; false if its port is another's.
func (s *server) start() bool {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.process = exec.Command("redis-server", append([]string{
		"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "",
		"--cluster-enabled", "yes", "--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0",
	}, s.options...)...)
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func(process *exec.Cmd) {
		process.Wait()
		close(ended)
	}(s.process)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		select {
		case <-ended:
			return false
		default:
		}
		if reply, err := s.try("PING"); err == nil && reply == "PONG" {
			return true
		}
	}
	s.t.Fatalf("%s does not answer", s.address())
	return false
}

func (s *server) signal(signal syscall.Signal) {
	if err := s.process.Process.Signal(signal); err != nil {
		s.t.Errorf("%v to %s: %v", signal, s.address(), err)
	}
}

// kill ends the server at once, as a lack of memory does.
func (s *server) kill() {
	s.signal(syscall.SIGKILL)
	eventually(s.t, s.address()+" is dead", func() bool {
		_, err := s.try("PING")
		return err != nil
	})
}

func (s *server) restart() {
	for range 3 {
		if s.start() {
			return
		}
	}
	log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	s.t.Fatalf("%s does not come back:\n%s", s.address(), log)
}

// try makes a command on a connection of its own.
func (s *server) try(command ...string) (any, error) {
	conn, err := net.DialTimeout("tcp", s.address(), 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	var request strings.Builder
	fmt.Fprintf(&request, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(conn, request.String()); err != nil {
		return nil, err
	}
	return readReply(bufio.NewReader(conn))
}

// must makes a command that is not refused.
func (s *server) must(command ...string) any {
	s.t.Helper()
	var reply any
	eventually(s.t, strings.Join(command, " ")+" on "+s.address(), func() bool {
		var err error
		reply, err = s.try(command...)
		return err == nil
	})
	return reply
}

func readReply(from *bufio.Reader) (any, error) {
	line, err := from.ReadString('\n')
	if err != nil {
		return nil, err
	}
	text := strings.TrimSuffix(line[1:], "\r\n")
	switch line[0] {
	case '+':
		return text, nil
	case '-':
		return nil, fmt.Errorf("%s", text)
	case ':':
		return strconv.ParseInt(text, 10, 64)
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 0 {
		return nil, err
	}
	if line[0] == '$' {
		bytes := make([]byte, count+2)
		_, err := io.ReadFull(from, bytes)
		return string(bytes[:count]), err
	}
	list := make([]any, count)
	for at := range list {
		if list[at], err = readReply(from); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

type cluster struct {
	t       *testing.T
	servers []*server
}

// startCluster starts three primaries, with a replica each if replicas is one. nodeTimeout is how long a server
// is silent before another takes its place.
func startCluster(t *testing.T, replicas int, nodeTimeout time.Duration, options ...string) *cluster {
	t.Helper()
	c := &cluster{t: t}
	for len(c.servers) < 3*(1+replicas) {
		c.servers = append(c.servers, startServer(t, nodeTimeout, options))
	}
	arguments := []string{"--cluster", "create"}
	for _, server := range c.servers {
		arguments = append(arguments, server.address())
	}
	arguments = append(arguments, "--cluster-replicas", strconv.Itoa(replicas), "--cluster-yes")
	if output, err := exec.Command("redis-cli", arguments...).CombinedOutput(); err != nil {
		t.Fatalf("the cluster did not form: %v\n%s", err, output)
	}
	for _, server := range c.servers {
		server.id = server.must("CLUSTER", "MYID").(string)
	}
	c.waitUntilWhole()
	return c
}

func startServer(t *testing.T, nodeTimeout time.Duration, options []string) *server {
	for range 50 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := listener.Addr().(*net.TCPAddr).Port
		listener.Close()
		// The bus of a cluster takes the port 10,000 above.
		if port > 55000 {
			continue
		}
		s := &server{t: t, port: port, dir: t.TempDir(), options: append([]string{
			"--cluster-node-timeout", strconv.FormatInt(nodeTimeout.Milliseconds(), 10),
			"--cluster-replica-validity-factor", "0",
		}, options...)}
		if s.start() {
			t.Cleanup(func() {
				s.process.Process.Signal(syscall.SIGCONT)
				s.process.Process.Kill()
				eventually(t, "the end of "+s.address(), func() bool {
					_, err := s.try("PING")
					return err != nil
				})
			})
			return s
		}
	}
	t.Fatal("no free port")
	return nil
}

func (c *cluster) url() string {
	var addresses []string
	for _, server := range c.servers {
		addresses = append(addresses, server.address())
	}
	return "redis+cluster://" + strings.Join(addresses, ",")
}

// waitUntilWhole waits until all servers agree on who has which slot, and replicas have caught up.
func (c *cluster) waitUntilWhole() {
	c.t.Helper()
	eventually(c.t, "all servers agree", func() bool {
		views := map[string]bool{}
		for _, server := range c.servers {
			info, err := server.try("CLUSTER", "INFO")
			if err != nil || !strings.Contains(info.(string), "cluster_state:ok") ||
				!strings.Contains(info.(string), fmt.Sprintf("cluster_known_nodes:%d", len(c.servers))) {
				return false
			}
			nodes, err := server.try("CLUSTER", "NODES")
			if err != nil || strings.Contains(nodes.(string), "fail ") ||
				strings.Contains(nodes.(string), "fail?") || strings.Contains(nodes.(string), "handshake") {
				return false
			}
			var view []string
			for _, line := range strings.Split(strings.TrimSpace(nodes.(string)), "\n") {
				fields := strings.Fields(line)
				if len(fields) > 8 {
					view = append(view, fields[0]+" "+strings.Join(fields[8:], " "))
				}
			}
			views[strings.Join(sorted(view), "\n")] = true
			replication, err := server.try("INFO", "replication")
			if err != nil || strings.Contains(replication.(string), "role:slave") &&
				!strings.Contains(replication.(string), "master_link_status:up") {
				return false
			}
		}
		return len(views) == 1
	})
}

// roles returns the primaries that have slots, and the replicas, as a server that is up sees them.
func (c *cluster) roles() (primaries, replicas []*server) {
	for _, server := range c.servers {
		if role, err := server.try("ROLE"); err == nil {
			if role.([]any)[0] == "master" {
				primaries = append(primaries, server)
			} else {
				replicas = append(replicas, server)
			}
		}
	}
	return primaries, replicas
}

// replicaOf returns a replica of that primary's.
func (c *cluster) replicaOf(primary *server) *server {
	_, replicas := c.roles()
	for _, replica := range replicas {
		role := replica.must("ROLE").([]any)
		if fmt.Sprint(role[2]) == strconv.Itoa(primary.port) {
			return replica
		}
	}
	return nil
}

// waitForEpochs waits until all servers know the newest epoch and no two primaries have the same: one that takes a slot
// with an epoch that is not above its old owner's loses it again to that one's older claim, and the keys with it.
func (c *cluster) waitForEpochs() {
	c.t.Helper()
	eventually(c.t, "all servers know the epochs", func() bool {
		current, own := map[string]bool{}, map[string]bool{}
		primaries, _ := c.roles()
		for _, server := range primaries {
			info, err := server.try("CLUSTER", "INFO")
			if err != nil {
				return false
			}
			for _, line := range strings.Split(info.(string), "\n") {
				switch name, value, _ := strings.Cut(strings.TrimSpace(line), ":"); name {
				case "cluster_current_epoch":
					current[value] = true
				case "cluster_my_epoch":
					own[value] = true
				}
			}
		}
		return len(current) == 1 && len(own) == len(primaries)
	})
}

// moveSlot moves a slot with its keys while calls for it go on.
func (c *cluster) moveSlot(slot int64, from, to *server) {
	c.waitForEpochs()
	number := strconv.FormatInt(slot, 10)
	to.must("CLUSTER", "SETSLOT", number, "IMPORTING", from.id)
	from.must("CLUSTER", "SETSLOT", number, "MIGRATING", to.id)
	for {
		keys := from.must("CLUSTER", "GETKEYSINSLOT", number, "100").([]any)
		if len(keys) == 0 {
			break
		}
		for _, key := range keys {
			from.must("MIGRATE", "127.0.0.1", strconv.Itoa(to.port), key.(string), "0", "30000")
		}
	}
	to.must("CLUSTER", "SETSLOT", number, "NODE", to.id)
	from.must("CLUSTER", "SETSLOT", number, "NODE", to.id)
	// Another server may hear of an older claim to the slot later, or two servers have come to the same epoch: then it
	// believes the wrong one, until it is told again by one with a higher epoch.
	eventually(c.t, "all servers know who has slot "+number, func() bool {
		agree := true
		for _, server := range c.servers {
			nodes, err := server.try("CLUSTER", "NODES")
			if err != nil || c.ownerIn(nodes.(string), slot) == to {
				continue
			}
			agree = false
			// For a replica this is an error.
			_, _ = server.try("CLUSTER", "SETSLOT", number, "NODE", to.id)
		}
		if !agree {
			_, _ = to.try("CLUSTER", "BUMPEPOCH")
		}
		return agree
	})
}
