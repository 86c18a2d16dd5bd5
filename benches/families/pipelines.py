"""Script calls in pipelines on one server, against hiredis, redis-rs and redis-py."""

from figures import HIGHER, LOWER, Goal, Metric, Scenario
from harness import instructions, numbers, run

CALLS = 100_000
# It is that much slower.
SLOWER = 10


def programs(bench, size, calls, port):
    """What makes so many calls in pipelines, by client."""
    return {
        "rs_script": numbers([bench.c_program("pipeline", "rs_script"), port, "multiply", size, calls]),
        "hiredis": numbers([bench.c_program("pipeline", "hiredis"), port, "multiply", size, calls]),
        "redis-rs": numbers([bench.cargo_program("pipeline"), port, "pipeline", size, calls]),
    }


def rates(bench, size):
    calls = bench.calls(CALLS, size) // size * size
    measures = programs(bench, size, calls, bench.port())
    python = [*bench.python_program("pipeline"), bench.port(), "rate", size, max(calls // SLOWER, size)]
    measures["redis-py"] = numbers(python)
    yield from bench.compare(measures, Metric("calls/s", HIGHER), Metric("CPU us/call", LOWER))


def instruction_counts(bench, script, goal):
    def count(client):
        program = bench.c_program("pipeline", client)
        return (instructions(lambda calls: [program, bench.port(), script, 100, calls], 1000, 5000),)

    def redis_rs():
        program = bench.cargo_program("pipeline")
        return (instructions(lambda calls: [program, bench.port(), "pipeline", 100, calls], 1000, 5000),)

    measures = {"rs_script": lambda: count("rs_script"), "hiredis": lambda: count("hiredis")}
    if script == "multiply":
        measures["redis-rs"] = redis_rs
    yield from bench.compare(measures, Metric("instructions/call", LOWER, (goal,)), rounds=1)


def cold(bench):
    measures = {
        "rs_script": lambda: (float(run([bench.c_program("cold", "rs_script"), bench.port()])),),
        "redis-py": lambda: (float(run([*bench.python_program("pipeline"), bench.port(), "cold"])),),
    }
    yield from bench.compare(measures, Metric("flushes", LOWER, (Goal(1),)), rounds=1)


SCENARIOS = [
    Scenario("c-pipeline-100", "pipelines", "Pipelines of 100 calls.", lambda bench: rates(bench, 100)),
    Scenario("c-pipeline-1000", "pipelines", "Pipelines of 1,000 calls.", lambda bench: rates(bench, 1000)),
    Scenario(
        "c-pipeline-100-instr",
        "pipelines",
        "Pipelines of 100 calls; the client's instructions for a call.",
        lambda bench: instruction_counts(bench, "multiply", Goal(480)),
    ),
    Scenario(
        "c-pipeline-bulk",
        "pipelines",
        "Pipelines of 100 calls that return 100 strings each, all looked at; the client's instructions for a call.",
        lambda bench: instruction_counts(bench, "table", Goal(0.15, "hiredis")),
    ),
    Scenario(
        "pipeline-cold-rtt",
        "pipelines",
        "How often the first pipeline with two scripts that the server lacks writes, and waits for what comes back.",
        cold,
    ),
]
