"""Script calls in pipelines, against hiredis, redis-rs and redis-py."""

from harness import HIGHER, LOWER, Figure, in_turn, instructions, run

CALLS = 100_000
# It is that much slower.
REDIS_PY_CALLS = 10_000
REDIS_PY_ROUNDS = 3


def rates(bench, size):
    def rate(client):
        program = bench.c_program("pipeline", client)
        return lambda: float(run([program, bench.port(), "multiply", size, CALLS]))

    redis_rs = bench.cargo_program("pipeline")
    ours, *theirs = in_turn(
        rate("rs_script"),
        rate("hiredis"),
        lambda: float(run([redis_rs, bench.port(), size, CALLS])),
    )
    redis_py = bench.python_program("pipeline")
    (slow,) = in_turn(
        lambda: float(run([*redis_py, bench.port(), "rate", size, REDIS_PY_CALLS])), rounds=REDIS_PY_ROUNDS
    )
    for peer, figure in zip(("hiredis", "redis-rs", "redis-py"), (*theirs, slow)):
        yield Figure(ours, peer, figure, "calls/s", HIGHER)


def instruction_counts(bench, script):
    def count(client):
        program = bench.c_program("pipeline", client)
        return instructions(lambda calls: [program, bench.port(), script, 100, calls], 1000, 5000)

    ours = count("rs_script")
    yield Figure(ours, "hiredis", count("hiredis"), "instructions/call", LOWER)
    if script == "multiply":
        program = bench.cargo_program("pipeline")
        theirs = instructions(lambda calls: [program, bench.port(), 100, calls], 1000, 5000)
        yield Figure(ours, "redis-rs", theirs, "instructions/call", LOWER)


def cold(bench):
    ours = float(run([bench.c_program("cold", "rs_script"), bench.port()]))
    theirs = float(run([*bench.python_program("pipeline"), bench.port(), "cold"]))
    yield Figure(ours, "redis-py", theirs, "flushes", LOWER)


SCENARIOS = {
    "c-pipeline-100": lambda bench: rates(bench, 100),
    "c-pipeline-1000": lambda bench: rates(bench, 1000),
    "c-pipeline-100-instr": lambda bench: instruction_counts(bench, "multiply"),
    "c-pipeline-bulk": lambda bench: instruction_counts(bench, "table"),
    "pipeline-cold-rtt": cold,
}
