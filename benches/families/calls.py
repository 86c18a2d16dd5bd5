"""Script calls one by one on one server, from one thread and from many, against hiredis, redis-rs and redis-py."""

from figures import HIGHER, LOWER, Goal, Metric, Scenario
from harness import instructions, numbers

CALLS = 20_000
# It is that much slower.
SLOWER = 10

CPU = Metric("CPU us/call", LOWER)


def programs(bench, threads, calls, port):
    """What makes so many calls from each thread, by client."""
    return {
        "rs_script": numbers([bench.c_program("call", "rs_script"), port, threads, calls]),
        "hiredis": numbers([bench.c_program("call", "hiredis"), port, threads, calls]),
        "redis-rs": numbers([bench.cargo_program("pipeline"), port, "call", threads, calls]),
    }


def rates(bench, threads):
    calls = bench.calls(CALLS * (2 if threads > 1 else 1), threads) // threads
    measures = programs(bench, threads, calls, bench.port())
    python = [*bench.python_program("pipeline"), bench.port(), "call", threads, max(calls // SLOWER, 1)]
    measures["redis-py"] = numbers(python)
    yield from bench.compare(measures, Metric("calls/s", HIGHER), CPU)


def instruction_counts(bench):
    def count(client):
        program = bench.c_program("call", client)
        return (instructions(lambda calls: [program, bench.port(), 1, calls], 500, 2500),)

    def redis_rs():
        program = bench.cargo_program("pipeline")
        return (instructions(lambda calls: [program, bench.port(), "call", 1, calls], 500, 2500),)

    measures = {"rs_script": lambda: count("rs_script"), "hiredis": lambda: count("hiredis"), "redis-rs": redis_rs}
    yield from bench.compare(measures, Metric("instructions/call", LOWER, (Goal(3010),)), rounds=1)


SCENARIOS = [
    Scenario("c-call-1", "calls", "One thread, one call after the other.", lambda bench: rates(bench, 1)),
    Scenario("c-call-1-instr", "calls", "The same; the client's instructions for a call.", instruction_counts),
    Scenario(
        "c-call-32",
        "calls",
        "32 threads, one call after the other in each: one client of ours, of the others a connection for each thread.",
        lambda bench: rates(bench, 32),
    ),
]
