"""Script calls from Node, so many at a time and in pipelines, through both packages that call C, against ioredis, node-redis and Valkey GLIDE."""

from harness import HIGHER, LOWER, Figure, in_turn, run

CALLS = {("call", 1): 20_000, ("call", 100): 300_000, ("call", 1000): 300_000, ("pipeline", 100): 300_000}
# It is that much slower, and makes so many times fewer calls.
SLOWER = {"valkey-glide": 4}
PEERS = {
    "call": ("ioredis", "ioredis-autopipelining", "node-redis", "valkey-glide"),
    # What is in a pipeline already is not put in one by itself.
    "pipeline": ("ioredis", "node-redis", "valkey-glide"),
}


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


def scenarios():
    for mode, count in CALLS:
        for suffix, ffi in (("", "ffi-napi"), ("-koffi", "koffi")):
            yield f"node-{mode}-{count}{suffix}", lambda bench, case=(mode, count, ffi): rates(bench, *case)


SCENARIOS = dict(scenarios())
