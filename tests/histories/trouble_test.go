// What befalls the cluster while calls are under way.

package histories

import (
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func sorted(texts []string) []string {
	sort.Strings(texts)
	return texts
}

// replaced is a primary that another server took the place of, and when that was over: what it had acknowledged
// before may be lost.
type replaced struct {
	id string
	at time.Time
}

type trouble struct {
	name string
	// keeps: servers lose nothing that they have acknowledged.
	keeps       bool
	replicas    int
	nodeTimeout time.Duration
	rounds      int
	// happen is one round of it.
	happen func(c *cluster, random *rand.Rand, keys []string) []replaced
}

var troubles = []trouble{
	{name: "kill", keeps: true, nodeTimeout: 5 * time.Minute, rounds: 4, happen: killAndRestart},
	{name: "migration", keeps: true, nodeTimeout: 5 * time.Minute, rounds: 6, happen: migrate},
	{name: "failover", replicas: 1, nodeTimeout: 2 * time.Second, rounds: 2, happen: failOver},
	{name: "partition", replicas: 1, nodeTimeout: 2 * time.Second, rounds: 2, happen: partition},
}

func pause(random *rand.Rand) { time.Sleep(time.Duration(100+random.IntN(300)) * time.Millisecond) }

func killAndRestart(c *cluster, random *rand.Rand, _ []string) []replaced {
	victim := c.servers[random.IntN(len(c.servers))]
	victim.kill()
	pause(random)
	victim.restart()
	c.waitUntilWhole()
	pause(random)
	return nil
}

// migrate moves the slots of half the keys, each to a primary that does not have it.
func migrate(c *cluster, random *rand.Rand, keys []string) []replaced {
	c.migrateSome(random, keys)
	return nil
}

func (c *cluster) migrateSome(random *rand.Rand, keys []string) {
	primaries, _ := c.roles()
	for _, place := range random.Perm(len(keys))[:len(keys)/2] {
		slot := c.servers[0].must("CLUSTER", "KEYSLOT", keys[place]).(int64)
		from := c.owner(slot)
		to := primaries[(indexOf(primaries, from)+1+random.IntN(len(primaries)-1))%len(primaries)]
		c.moveSlot(slot, from, to)
	}
	c.waitUntilWhole()
}

// failOver makes a replica the primary: asked for and waited for, taken without asking, or because the primary
// is dead.
func failOver(c *cluster, random *rand.Rand, _ []string) []replaced {
	primaries, _ := c.roles()
	victim := primaries[random.IntN(len(primaries))]
	heir := c.replicaOf(victim)
	switch random.IntN(3) {
	case 0:
		c.promote(heir, "CLUSTER", "FAILOVER")
	case 1:
		c.promote(heir, "CLUSTER", "FAILOVER", "FORCE")
	default:
		victim.kill()
		c.waitForPrimary(heir)
		victim.restart()
	}
	c.waitUntilWhole()
	return []replaced{{victim.id, time.Now()}}
}

// partition stops a primary until another is in its place, and lets it go on: it finds what was sent to it, and
// answers, before it hears that it is none.
func partition(c *cluster, random *rand.Rand, _ []string) []replaced {
	primaries, _ := c.roles()
	victim := primaries[random.IntN(len(primaries))]
	heir := c.replicaOf(victim)
	victim.signal(syscall.SIGSTOP)
	c.waitForPrimary(heir)
	pause(random)
	victim.signal(syscall.SIGCONT)
	c.waitUntilWhole()
	return []replaced{{victim.id, time.Now()}}
}

// promote makes a replica the primary by a command, which the servers give up where the others do not vote in time.
func (c *cluster) promote(heir *server, command ...string) {
	for range 10 {
		heir.try(command...)
		for deadline := time.Now().Add(6 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if role, err := heir.try("ROLE"); err == nil && role.([]any)[0] == "master" {
				return
			}
		}
	}
	c.waitForPrimary(heir)
}

func (c *cluster) waitForPrimary(heir *server) {
	eventually(c.t, heir.address()+" is the primary", func() bool {
		role, err := heir.try("ROLE")
		return err == nil && role.([]any)[0] == "master"
	})
}

func (c *cluster) owner(slot int64) *server {
	nodes := c.servers[0].must("CLUSTER", "NODES").(string)
	owner := c.ownerIn(nodes, slot)
	if owner == nil {
		c.t.Fatalf("nobody has slot %d", slot)
	}
	return owner
}

// ownerIn returns whose a slot is by what CLUSTER NODES has answered.
func (c *cluster) ownerIn(nodes string, slot int64) *server {
	for _, line := range strings.Split(strings.TrimSpace(nodes), "\n") {
		fields := strings.Fields(line)
		for _, part := range fields[8:] {
			first, last, isRange := strings.Cut(part, "-")
			if strings.HasPrefix(part, "[") {
				continue
			}
			low, _ := strconv.ParseInt(first, 10, 64)
			high := low
			if isRange {
				high, _ = strconv.ParseInt(last, 10, 64)
			}
			if low <= slot && slot <= high {
				for _, server := range c.servers {
					if server.id == fields[0] {
						return server
					}
				}
			}
		}
	}
	return nil
}

func indexOf(servers []*server, wanted *server) int {
	for at, server := range servers {
		if server == wanted {
			return at
		}
	}
	return -1
}
