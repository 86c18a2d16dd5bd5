"""Script calls on a cluster of three primaries, with keys of all slots, against redis-rs, Valkey GLIDE and redis-py."""

from figures import BEST, HIGHER, LOWER, Goal, Metric, Scenario
from harness import numbers, run

CALLS = {"call": 64_000, "submit": 64_000, "pipeline": 200_000}
# They are that much slower, and make so many times fewer calls.
SLOWER = {"valkey-glide": 4, "redis-py": 10}


# Threads that wait are compared with redis-rs called from threads too; calls that nobody waits for with its tasks.
PEERS = {
    "submit": ("redis-rs", "valkey-glide"),
    "call": ("redis-rs", "redis-rs-threads", "valkey-glide", "redis-py"),
    "pipeline": ("redis-rs", "valkey-glide", "redis-py"),
}

RATE_GOALS = {"call": (Goal(0.9, "redis-rs"),), "pipeline": (Goal(1.1, BEST),)}
CPU_GOALS = {"pipeline": (Goal(0.4, BEST),)}


def measures(bench, names, mode, count):
    """For each name a function that makes the calls: a tuple of the rate, and of the CPU time a call takes the
    client."""
    ports, keys = bench.cluster()
    nodes = ",".join(f"127.0.0.1:{port}" for port in ports)
    programs = {
        "rs_script": lambda: [bench.c_program("cluster", "rs_script"), f"redis+cluster://{nodes}"],
        "redis-rs": lambda: [bench.cargo_program("cluster"), nodes],
        "redis-rs-threads": lambda: [bench.cargo_program("cluster"), nodes],
        "valkey-glide": lambda: [*bench.node_program("cluster"), nodes],
        "redis-py": lambda: [*bench.python_program("cluster"), nodes],
    }

    def measure(name):
        its_mode = {"redis-rs-threads": "call-threads", "rs_script": mode}.get(name, mode.replace("submit", "call"))
        calls = bench.calls(CALLS[mode] // SLOWER.get(name, 1), count) // count * count
        return numbers([*programs[name](), keys, its_mode, count, calls])

    return {name: measure(name) for name in names}


def rates(bench, mode, count, item):
    rate = Metric(f"{item}s/s", HIGHER, RATE_GOALS.get(mode, ()))
    cpu = Metric(f"CPU us/{item}", LOWER, CPU_GOALS.get(mode, ()))
    yield from bench.compare(measures(bench, ("rs_script", *PEERS[mode]), mode, count), rate, cpu)


ROUND_TRIP = 1000
DISTANT_CALLS = 100_000


def distant_measures(bench, round_trip, ours, others, at_once, calls):
    """Ours and redis-rs on servers so many microseconds away, by the names of clients in these modes: functions that
    give the rate, the CPU time of a call, and the relay's."""
    ports, keys, relay = bench.distant_cluster(round_trip)
    nodes = ",".join(f"127.0.0.1:{port}" for port in ports)
    program = [bench.c_program("cluster", "rs_script"), f"redis+cluster://{nodes}"]
    peer = [bench.cargo_program("cluster"), nodes]
    calls = bench.calls(calls, at_once * 10)

    def measure(command, mode):
        def rate():
            before = relay()
            rate, cpu = map(float, run([*command, keys, mode, at_once, calls]).split())
            return rate, cpu, (relay() - before) * 1e6 / calls

        return rate

    made = {name: measure(program, mode) for name, mode in ours.items()}
    return made | {name: measure(peer, mode) for name, mode in others.items()}


def distant(bench, ours, others, at_once, item, goals):
    taken = distant_measures(bench, ROUND_TRIP, ours, others, at_once, DISTANT_CALLS)
    yield from bench.compare(
        taken,
        Metric(f"{item}s/s", HIGHER, goals),
        Metric(f"CPU us/{item}", LOWER),
        Metric(f"relay's CPU us/{item}", LOWER),
    )


REPLICA = (
    {
        "rs_script, replicas": "submit-replica",
        "rs_script, primaries": "submit-ro",
        "rs_script, primaries, may write": "submit",
    },
    {"redis-rs, replicas": "call-replica"},
)
REPLICA_GOALS = (Goal(0.9, "rs_script, primaries"), Goal(1.2, BEST))
PIPELINES = (
    {"rs_script, pipelines": "submit-pipelines", "rs_script, single calls": "submit"},
    {"redis-rs, pipelines": "call-pipelines", "redis-rs, single calls": "call"},
)
# Three times what single calls made when the goal was set: 60,000 a second.
PIPELINE_GOALS = (Goal(180_000), Goal(1.5, BEST))


def route(bench):
    program = bench.cargo_program("decode").with_name("route")
    measures = {"rs_script": numbers([program, bench.calls(1_000_000)])}
    yield from bench.compare(measures, Metric("ns/key", LOWER, (Goal(100),)))


SCENARIOS = [
    Scenario(
        "cluster-call-32",
        "cluster",
        "32 callers, one call after the other in each: threads on one client; of redis-rs tasks, and threads too.",
        lambda bench: rates(bench, "call", 32, "call"),
    ),
    Scenario(
        "cluster-submit-32",
        "cluster",
        "32 calls under way, from one thread.",
        lambda bench: rates(bench, "submit", 32, "call"),
    ),
    Scenario(
        "cluster-pipeline-1000",
        "cluster",
        "Pipelines of 1,000 calls over all slots.",
        lambda bench: rates(bench, "pipeline", 1000, "item"),
    ),
    Scenario(
        "cluster-submit-replica-1000",
        "cluster",
        "1,000 read-only calls under way on replicas, a round trip of 1 ms.",
        lambda bench: distant(bench, *REPLICA, 1000, "call", REPLICA_GOALS),
    ),
    Scenario(
        "cluster-submit-pipeline-10",
        "cluster",
        "1,000 pipelines of 10 calls over all slots under way, a round trip of 1 ms. The goal is three times the 60,000 "
        "calls a second that single calls made when it was set.",
        lambda bench: distant(bench, *PIPELINES, 1000, "item", PIPELINE_GOALS),
    ),
    Scenario("cluster-route", "cluster", "The server of a key: its slot, and who has that.", route),
]
