"""Script calls from Go, one by one from goroutines and in pipelines, against rueidis and go-redis."""

from harness import HIGHER, LOWER, Figure, in_turn, run

CALLS = {1: 20_000, 4: 60_000, 16: 100_000, 64: 200_000, 1000: 300_000}
PIPELINED = 300_000
PEERS = ("rueidis", "go-redis")


def rates(bench, mode, count, calls):
    def measure(name):
        command = [bench.go_program(), name, bench.port(), mode, count, calls]
        return lambda: tuple(map(float, run(command).split()))

    (ours, our_cpu), *theirs = in_turn(measure("rs_script"), *map(measure, PEERS))
    for peer, (rate, cpu) in zip(PEERS, theirs):
        yield Figure(ours, peer, rate, "calls/s", HIGHER)
        yield Figure(our_cpu, peer, cpu, "CPU us/call", LOWER)


SCENARIOS = {
    "go-call-1": lambda bench: rates(bench, "call", 1, CALLS[1]),
    "go-call-4": lambda bench: rates(bench, "call", 4, CALLS[4]),
    "go-call-16": lambda bench: rates(bench, "call", 16, CALLS[16]),
    "go-call-64": lambda bench: rates(bench, "call", 64, CALLS[64]),
    "go-call-1000": lambda bench: rates(bench, "call", 1000, CALLS[1000]),
    "go-pipeline-100": lambda bench: rates(bench, "pipeline", 100, PIPELINED),
}
