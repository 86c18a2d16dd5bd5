"""Node, through both packages that call C, against ioredis, node-redis and Valkey GLIDE: script calls, so many at a time and in pipelines; a large reply; and
calls that are called off, against as many promises of Node's own."""

from harness import HIGHER, LOWER, Figure, in_turn, run

CALLS = {("call", 1): 20_000, ("call", 100): 300_000, ("call", 1000): 300_000, ("pipeline", 100): 300_000}
# It is that much slower, and makes so many times fewer calls.
SLOWER = {"valkey-glide": 4}
PEERS = {
    "call": ("ioredis", "ioredis-autopipelining", "node-redis", "valkey-glide"),
    # What is in a pipeline already is not put in one by itself.
    "pipeline": ("ioredis", "node-redis", "valkey-glide"),
}
# Of a value, and how often it is fetched.
LARGE = (64 * 1024 * 1024, 7)
LARGE_PEERS = ("ioredis", "node-redis", "valkey-glide")
CANCELLED = 100_000


def rates(bench, mode, count, ffi):
    def measure(name):
        calls = CALLS[mode, count] // SLOWER.get(name, 1)
        command = [*bench.node_program("call", ffi), name, bench.port(), mode, count, calls]
        return lambda: tuple(map(float, run(command).split()))

    peers = PEERS[mode]
    (ours, our_cpu), *theirs = in_turn(measure("rs_script"), *map(measure, peers))
    for peer, (rate, cpu) in zip(peers, theirs):
        yield Figure(ours, peer, rate, "calls/s", HIGHER)
        yield Figure(our_cpu, peer, cpu, "CPU us/call", LOWER)


def large(bench, ffi):
    """A GET of 64 MiB as a Buffer: milliseconds, those of CPU time, and the longest time in which the event loop did nothing else."""

    def measure(name):
        command = [*bench.node_program("large", ffi), name, bench.port(), *LARGE]
        return lambda: tuple(map(float, run(command).split()))

    ours, *theirs = in_turn(measure("rs_script"), *map(measure, LARGE_PEERS))
    for peer, figures in zip(LARGE_PEERS, theirs):
        for mine, other, unit in zip(ours, figures, ("ms", "CPU ms", "ms loop gap")):
            yield Figure(mine, peer, other, unit, LOWER)


def cancelling(bench, ffi):
    """So many calls that a server does not answer, each with a signal that is aborted: until all are settled; and the most in one turn of the event loop."""
    # It is made to pause, so nobody else can use it.
    program, port = bench.node_program("cancel", ffi), bench.start_server()
    plain = lambda: tuple(map(float, run([*program, "plain", 0, CANCELLED]).split()))
    ours = lambda: tuple(map(float, run([*program, "rs_script", port, CANCELLED]).split()))
    (ours,), (plain,) = in_turn(ours, rounds=1), in_turn(plain, rounds=3)
    for mine, other, unit in zip(ours, plain, ("ms", "CPU ms")):
        yield Figure(mine, "plain", other, unit, LOWER)
    yield Figure(ours[2], "goal", 1000, "a turn", LOWER)


def scenarios():
    for suffix, ffi in (("", "ffi-napi"), ("-koffi", "koffi")):
        for mode, count in CALLS:
            yield f"node-{mode}-{count}{suffix}", lambda bench, case=(mode, count, ffi): rates(bench, *case)
        yield f"node-get-64m{suffix}", lambda bench, ffi=ffi: large(bench, ffi)
        yield f"node-cancel-100000{suffix}", lambda bench, ffi=ffi: cancelling(bench, ffi)


SCENARIOS = dict(scenarios())
