"""Script calls from Go, one by one from goroutines and in pipelines, against rueidis and go-redis."""

from harness import HIGHER, LOWER, Figure, in_turn, run

CALLS = {1: 20_000, 4: 60_000, 16: 100_000, 64: 200_000, 1000: 300_000}
PIPELINED = 300_000
WAITING = 300
CANCELLED = 100_000
# Seconds: until all calls are made and cancelled.
PAUSE = 60
# MiB, and how often.
LARGE = (64, 8)
PEERS = ("rueidis", "go-redis")


def rates(bench, mode, count, calls):
    def measure(name):
        command = [bench.go_program(), name, bench.port(), mode, count, calls]
        return lambda: tuple(map(float, run(command).split()))

    (ours, our_cpu), *theirs = in_turn(measure("rs_script"), *map(measure, PEERS))
    for peer, (rate, cpu) in zip(PEERS, theirs):
        yield Figure(ours, peer, rate, "calls/s", HIGHER)
        yield Figure(our_cpu, peer, cpu, "CPU us/call", LOWER)


def large(bench):
    """A GET of 64 MiB, read as a string: milliseconds, and those of CPU time."""

    def measure(name):
        command = [bench.go_program(), name, bench.port(), "get", *LARGE]
        return lambda: tuple(map(float, run(command).split()))

    (ours, our_cpu), *theirs = in_turn(measure("rs_script"), *map(measure, PEERS))
    for peer, (time, cpu) in zip(PEERS, theirs):
        yield Figure(ours, peer, time, "ms", LOWER)
        yield Figure(our_cpu, peer, cpu, "CPU ms", LOWER)


def blocking(bench):
    """So many BLPOPs of a second at once: seconds until all are answered, and errors."""
    command = [bench.go_program(), "rs_script", bench.port(), "blocking", WAITING, 1]
    ((seconds, failed),) = in_turn(lambda: tuple(map(float, run(command).split())), rounds=3)
    yield Figure(seconds, "goal", 2, "s", LOWER)
    yield Figure(failed, "goal", 0, "errors", LOWER)


def cancelling(bench):
    """As many calls that a server does not answer, of one context that is cancelled."""
    # It pauses, so nobody else can use it.
    program, port = bench.go_program(), bench.start_server()
    command = [program, "rs_script", port, "cancel", CANCELLED, PAUSE]
    ((seconds, cpu),) = in_turn(lambda: tuple(map(float, run(command).split())), rounds=1)
    yield Figure(seconds, "goal", 0.2, "s", LOWER)
    yield Figure(cpu, "goal", 0.2, "CPU s", LOWER)


SCENARIOS = {
    "go-call-1": lambda bench: rates(bench, "call", 1, CALLS[1]),
    "go-call-4": lambda bench: rates(bench, "call", 4, CALLS[4]),
    "go-call-16": lambda bench: rates(bench, "call", 16, CALLS[16]),
    "go-call-64": lambda bench: rates(bench, "call", 64, CALLS[64]),
    "go-call-1000": lambda bench: rates(bench, "call", 1000, CALLS[1000]),
    "go-blocking-300": blocking,
    "go-cancel-100000": cancelling,
    "go-get-64m": large,
    "go-pipeline-100": lambda bench: rates(bench, "pipeline", 100, PIPELINED),
}
