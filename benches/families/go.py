"""Script calls from Go, one by one from goroutines and in pipelines, against rueidis and go-redis."""

from figures import BEST, HIGHER, LOWER, Goal, Metric, Scenario
from harness import numbers

CALLS = {1: 20_000, 4: 60_000, 16: 100_000, 64: 200_000, 1000: 300_000}
GOALS = {1: 0.95, 4: 1.0, 16: 1.1, 64: 1.3, 1000: 1.25}
PIPELINED = 300_000
WAITING = 300
CANCELLED = 100_000
# Seconds: until all calls are made and cancelled.
PAUSE = 60
# MiB, and how often.
LARGE = (64, 8)
CLIENTS = ("rs_script", "rueidis", "go-redis")


def programs(bench, mode, count, calls, port):
    """What makes so many calls, by client."""
    return {client: numbers([bench.go_program(), client, port, mode, count, calls]) for client in CLIENTS}


def rates(bench, mode, count, calls, goals=()):
    measures = programs(bench, mode, count, bench.calls(calls, count), bench.port())
    yield from bench.compare(measures, Metric("calls/s", HIGHER, goals), Metric("CPU us/call", LOWER))


def large(bench):
    mebibytes, times = LARGE
    measures = programs(bench, "get", mebibytes, bench.calls(times), bench.port())
    yield from bench.compare(
        measures, Metric("ms", LOWER, (Goal(1.1, BEST),)), Metric("CPU ms", LOWER, (Goal(1.5, BEST),))
    )


def blocking(bench):
    command = [bench.go_program(), "rs_script", bench.port(), "blocking", WAITING, 1]
    metrics = (Metric("s", LOWER, (Goal(2),)), Metric("errors", LOWER, (Goal(0),)))
    yield from bench.compare({"rs_script": numbers(command)}, *metrics, rounds=3)


def cancelling(bench):
    # It pauses, so nobody else can use it.
    program, port = bench.go_program(), bench.start_server()
    command = [program, "rs_script", port, "cancel", CANCELLED, PAUSE]
    metrics = (Metric("s", LOWER, (Goal(0.2),)), Metric("CPU s", LOWER, (Goal(0.2),)))
    yield from bench.compare({"rs_script": numbers(command)}, *metrics, rounds=1)


def call(count):
    who = "One goroutine" if count == 1 else f"{count:,} goroutines"
    return Scenario(
        f"go-call-{count}",
        "go",
        f"{who}, one call after the other in each.",
        lambda bench: rates(bench, "call", count, CALLS[count], (Goal(GOALS[count], "rueidis"),)),
    )


SCENARIOS = [
    *map(call, CALLS),
    Scenario(
        "go-blocking-300",
        "go",
        "300 BLPOPs of a second at once, with default options: seconds until all are answered, and calls that failed.",
        blocking,
    ),
    Scenario(
        "go-cancel-100000",
        "go",
        "100,000 calls that a server does not answer, of one context that is cancelled: until all have returned.",
        cancelling,
    ),
    Scenario("go-get-64m", "go", "A GET of 64 MiB, read as a string.", large),
    Scenario(
        "go-pipeline-100", "go", "Pipelines of 100 calls.", lambda bench: rates(bench, "pipeline", 100, PIPELINED)
    ),
]
