"""Servers that are some way off, as most users have them: a relay delays what either side sends."""

from families import calls, cluster, go, node, pipelines
from figures import HIGHER, LOWER, Metric, Scenario

# Microseconds of a round trip.
DISTANCES = (200, 1000, 5000)
# What one run takes about, in seconds, if it is the round trip that counts.
LONG_ENOUGH = 1.0

CPU = Metric("CPU us/call", LOWER)
RATE = Metric("calls/s", HIGHER)
ROUNDS = 3
# At such a distance the relay is what makes the most of it, on loopback.
AT_MOST = 60_000


def made(distance, at_once):
    """So many calls that they take about long enough; what the client itself needs comes on top."""
    return min(int(LONG_ENOUGH / (distance + 100) * 1e6 * at_once), AT_MOST)


def call(bench, distance, threads):
    count = bench.calls(made(distance, threads), threads) // threads
    measures = calls.programs(bench, threads, count, bench.port(distance))
    yield from bench.compare(measures, RATE, CPU, rounds=ROUNDS)


def pipeline(bench, distance, size):
    count = bench.calls(made(distance, size), size) // size * size
    measures = pipelines.programs(bench, size, count, bench.port(distance))
    yield from bench.compare(measures, RATE, CPU, rounds=ROUNDS)


def submit(bench, distance, at_once):
    measures = cluster.distant_measures(
        bench, distance, {"rs_script": "submit"}, {"redis-rs": "call"}, at_once, made(distance, at_once)
    )
    yield from bench.compare(measures, RATE, CPU, Metric("relay's CPU us/call", LOWER), rounds=ROUNDS)


def from_go(bench, distance, goroutines):
    count = bench.calls(made(distance, goroutines), goroutines)
    measures = go.programs(bench, "call", goroutines, count, bench.port(distance))
    yield from bench.compare(measures, RATE, CPU, rounds=ROUNDS)


def from_node(bench, distance, at_once):
    measures = node.calls_of(bench, "call", at_once, made(distance, at_once), bench.port(distance))
    yield from bench.compare(measures, RATE, CPU, rounds=ROUNDS)


KINDS = {
    "call-1": (call, 1, "one thread, one call after the other"),
    "call-32": (call, 32, "32 threads; of the peers a connection for each"),
    "pipeline-100": (pipeline, 100, "pipelines of 100 calls, one after the other"),
    "cluster-submit-1000": (submit, 1000, "a cluster of three primaries, 1,000 calls under way from one thread"),
    "go-call-64": (from_go, 64, "Go, 64 goroutines"),
    "node-call-100": (from_node, 100, "Node, 100 calls under way"),
}

SCENARIOS = [
    Scenario(
        f"{name}-{distance / 1000:g}ms",
        "delays",
        f"A round trip of {distance / 1000:g} ms: {text}.",
        lambda bench, case=(run, distance, count): case[0](bench, *case[1:]),
    )
    for name, (run, count, text) in KINDS.items()
    for distance in DISTANCES
]
