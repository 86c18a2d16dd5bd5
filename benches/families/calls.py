"""Script calls one by one, from one thread and from many, against hiredis."""

from harness import HIGHER, LOWER, Figure, in_turn, instructions, run

CALLS = 20_000


def rates(bench, threads):
    calls = CALLS // threads * (2 if threads > 1 else 1)

    def rate(client):
        program = bench.c_program("call", client)
        return lambda: float(run([program, bench.port(), threads, calls]))

    ours, theirs = in_turn(rate("rs_script"), rate("hiredis"))
    yield Figure(ours, "hiredis", theirs, "calls/s", HIGHER)


def instruction_counts(bench):
    def count(client):
        program = bench.c_program("call", client)
        return instructions(lambda calls: [program, bench.port(), 1, calls], 500, 2500)

    yield Figure(count("rs_script"), "hiredis", count("hiredis"), "instructions/call", LOWER)


SCENARIOS = {
    "c-call-1": lambda bench: rates(bench, 1),
    "c-call-1-instr": instruction_counts,
    "c-call-32": lambda bench: rates(bench, 32),
}
