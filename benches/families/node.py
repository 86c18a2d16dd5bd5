"""Node, through both packages that call C, against ioredis, node-redis and Valkey GLIDE: script calls, so many at a
time and in pipelines; a large reply; and calls that are called off, against as many promises of Node's own."""

from figures import BEST, HIGHER, LOWER, Goal, Metric, Scenario
from harness import comparisons, numbers

CALLS = {("call", 1): 12_000, ("call", 100): 200_000, ("call", 1000): 200_000, ("pipeline", 100): 200_000}
# It is that much slower, and makes so many times fewer calls.
SLOWER = {"valkey-glide": 4}
PEERS = {
    "call": ("ioredis", "ioredis-autopipelining", "node-redis", "valkey-glide"),
    # What is in a pipeline already is not put in one by itself.
    "pipeline": ("ioredis", "node-redis", "valkey-glide"),
}
FFIS = ("ffi-napi", "koffi")
# Of a value, and how often it is fetched.
LARGE = (64 * 1024 * 1024, 7)
LARGE_PEERS = ("ioredis", "node-redis", "valkey-glide")
CANCELLED = 100_000
GOALS = {"ffi-napi": 0.9, "koffi": 1.0}


def programs(bench, name, peers, arguments):
    """Measures of ours through both packages, and of the peers; `arguments` gives a client's."""
    ours = {of(ffi): numbers([*bench.node_program(name, ffi), "rs_script", *arguments("rs_script")]) for ffi in FFIS}
    return ours | {peer: numbers([*bench.node_program(name), peer, *arguments(peer)]) for peer in peers}


def of(ffi):
    return f"rs_script, {ffi}"


def through(bench, key, ffi, measures):
    """What was taken of the peers and of ours through this package. Both packages are measured in the same rounds,
    and the peers once for both."""
    taken = bench.once(("node", *key), lambda: bench.take(measures()))
    others = {client: rounds for client, rounds in taken.items() if client not in map(of, FFIS)}
    return {of(ffi): taken[of(ffi)]} | others


def calls_of(bench, mode, count, calls, port):
    def arguments(client):
        made = bench.calls(calls // SLOWER.get(client, 1), count)
        return port, mode, count, made

    return programs(bench, "call", PEERS[mode], arguments)


def rates(bench, mode, count, ffi):
    taken = through(
        bench, (mode, count), ffi, lambda: calls_of(bench, mode, count, CALLS[mode, count], bench.port())
    )
    goals = (Goal(GOALS[ffi], "ioredis"),) if (mode, count) == ("call", 1) else ()
    yield from comparisons(taken, Metric("calls/s", HIGHER, goals), Metric("CPU us/call", LOWER))


def large(bench, ffi):
    size, times = LARGE
    arguments = lambda client: (bench.port(), size, bench.calls(times))
    taken = through(bench, ("large",), ffi, lambda: programs(bench, "large", LARGE_PEERS, arguments))
    metrics = (("ms", 1.1), ("CPU ms", 1.5), ("ms loop gap", 1.0))
    yield from comparisons(taken, *(Metric(unit, LOWER, (Goal(goal, BEST),)) for unit, goal in metrics))


def cancelling(bench, ffi):
    program = bench.node_program("cancel", ffi)
    measures = {
        # It is made to pause, so each time it is another one.
        of(ffi): lambda: numbers([*program, "rs_script", bench.start_server(), CANCELLED])(),
        "plain": numbers([*program, "plain", 0, CANCELLED]),
    }
    metrics = (
        Metric("ms", LOWER, (Goal(1.5, "plain"),)),
        Metric("CPU ms", LOWER),
        Metric("a turn", LOWER, (Goal(1000),)),
    )
    yield from bench.compare(measures, *metrics, rounds=3)


def scenarios():
    for ffi in FFIS:
        suffix = "" if ffi == FFIS[0] else f"-{ffi}"
        for mode, count in CALLS:
            text = f"Pipelines of {count} calls." if mode == "pipeline" else f"{count:,} calls under way at a time."
            yield Scenario(
                f"node-{mode}-{count}{suffix}",
                "node",
                "One call at a time." if (mode, count) == ("call", 1) else text,
                lambda bench, case=(mode, count, ffi): rates(bench, *case),
            )
        yield Scenario(
            f"node-get-64m{suffix}",
            "node",
            "A GET of 64 MiB as a Buffer, and the longest time in which the event loop did nothing else.",
            lambda bench, ffi=ffi: large(bench, ffi),
        )
        yield Scenario(
            f"node-cancel-100000{suffix}",
            "node",
            "100,000 calls that a server does not answer, each with a signal that is aborted, until all are settled, "
            "and the most in one turn of the event loop; `plain` are as many promises that do nothing else.",
            lambda bench, ffi=ffi: cancelling(bench, ffi),
        )


SCENARIOS = list(scenarios())
