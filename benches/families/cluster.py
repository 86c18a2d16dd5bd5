"""Script calls on a cluster of three primaries, with keys of all slots, against redis-rs, Valkey GLIDE and redis-py."""

from harness import HIGHER, LOWER, Figure, in_turn, run

CALLS = {"call": 64_000, "submit": 64_000, "pipeline": 200_000}
# They are that much slower, and make so many times fewer calls.
SLOWER = {"valkey-glide": 4, "redis-py": 10}


# Threads that wait are compared with redis-rs called from threads too; calls that nobody waits for with its tasks.
PEERS = {
    "submit": ("redis-rs", "valkey-glide"),
    "call": ("redis-rs", "redis-rs-threads", "valkey-glide", "redis-py"),
    "pipeline": ("redis-rs", "valkey-glide", "redis-py"),
}


def measures(bench, names, mode, count):
    """For each name a function that makes the calls: a tuple of the rate, and of the CPU time a call takes the client."""
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
        command = [*programs[name](), keys, its_mode, count, CALLS[mode] // SLOWER.get(name, 1)]
        return lambda: tuple(map(float, run(command).split()))

    return [measure(name) for name in names]


def rates(bench, mode, count, item):
    peers = PEERS[mode]
    (ours, our_cpu), *theirs = in_turn(*measures(bench, ("rs_script", *peers), mode, count))
    for peer, (rate, cpu) in zip(peers, theirs):
        yield Figure(ours, peer, rate, f"{item}s/s", HIGHER)
        yield Figure(our_cpu, peer, cpu, f"CPU us/{item}", LOWER)


ROUND_TRIP = 1000
DISTANT_CALLS = 100_000


def distant(bench, ours, others, at_once, item):
    """Ours in the modes `ours`, and redis-rs in its modes `others`, on servers a millisecond away: each figure is the first of ours against
    one of the rest."""
    ports, keys, relay_cpu = bench.distant_cluster(ROUND_TRIP)
    nodes = ",".join(f"127.0.0.1:{port}" for port in ports)
    program = [bench.c_program("cluster", "rs_script"), f"redis+cluster://{nodes}"]
    peer = [bench.cargo_program("cluster"), nodes]

    def measure(command, mode):
        def rate():
            before = relay_cpu()
            rate, cpu = map(float, run([*command, keys, mode, at_once, DISTANT_CALLS]).split())
            return rate, cpu, (relay_cpu() - before) * 1e6 / DISTANT_CALLS

        return rate

    names = [*ours.values(), *others.values()]
    measures = [measure(program, mode) for mode in ours] + [measure(peer, mode) for mode in others]
    (first, first_cpu, first_relay), *rest = in_turn(*measures)
    for name, (rate, cpu, relay) in zip(names[1:], rest):
        yield Figure(first, name, rate, f"{item}s/s", HIGHER)
        yield Figure(first_cpu, name, cpu, f"CPU us/{item}", LOWER)
        yield Figure(first_relay, f"relay with {name}", relay, f"relay's CPU us/{item}", LOWER)


REPLICA = (
    {"submit-replica": "ours, replicas", "submit-ro": "ours, primaries", "submit": "ours, primaries, may write"},
    {"call-replica": "redis-rs"},
)
PIPELINES = (
    {"submit-pipelines": "ours, pipelines", "submit": "ours, single calls"},
    {"call-pipelines": "redis-rs", "call": "redis-rs, single calls"},
)


def route(bench):
    """What it costs to find the server of a key: slot, look-up, a hold on the server."""
    program = bench.cargo_program("decode").with_name("route")
    (ours,) = in_turn(lambda: float(run([program, 1_000_000])))
    yield Figure(ours, "goal", 100, "ns/key", LOWER)


SCENARIOS = {
    "cluster-route": route,
    "cluster-call-32": lambda bench: rates(bench, "call", 32, "call"),
    "cluster-submit-32": lambda bench: rates(bench, "submit", 32, "call"),
    "cluster-submit-replica-1000": lambda bench: distant(bench, *REPLICA, 1000, "call"),
    "cluster-submit-pipeline-10": lambda bench: distant(bench, *PIPELINES, 1000, "item"),
    "cluster-pipeline-1000": lambda bench: rates(bench, "pipeline", 1000, "item"),
}
