"""Calls that nobody waits for, on one server: against the asynchronous API of hiredis on libevent, and against the project's goals."""

from harness import HIGHER, LOWER, Figure, in_turn, instructions, run

CALLS = {1: 20_000, 1000: 300_000}
# Enough that starting and ending cancel out, few enough for callgrind.
COUNTED = {1: (500, 2500), 1000: (10_000, 40_000)}

WAITING = 300
CANCELLED = 100_000


def programs(bench):
    """Ours and the peer's: each on one thread that waits for the socket itself."""
    return bench.c_program("submit", "rs_script"), bench.c_program("libevent", None, ("-lhiredis", "-levent_core"))


def rates(bench, at_once):
    def measure(program):
        command = [program, bench.port(), at_once, CALLS[at_once]]
        return lambda: tuple(map(float, run(command).split()))

    (ours, our_cpu), (theirs, their_cpu) = in_turn(*map(measure, programs(bench)))
    yield Figure(ours, "hiredis on libevent", theirs, "calls/s", HIGHER)
    yield Figure(our_cpu, "hiredis on libevent", their_cpu, "CPU us/call", LOWER)


def instruction_counts(bench, at_once):
    def count(program):
        return instructions(lambda calls: [program, bench.port(), at_once, calls], *COUNTED[at_once])

    ours, theirs = map(count, programs(bench))
    yield Figure(ours, "hiredis on libevent", theirs, "instructions/call", LOWER)


def blocking(bench):
    """So many BLPOPs of a second at once: seconds until all are answered, threads of the library, and errors."""
    program = bench.c_program("waiting", "rs_script")
    command = [program, bench.port(), "blocking", WAITING]
    ((seconds, threads, failed),) = in_turn(lambda: tuple(map(float, run(command).split())), rounds=3)
    yield Figure(seconds, "goal", 2, "s", LOWER)
    yield Figure(threads, "goal", 2, "threads", LOWER)
    yield Figure(failed, "goal", 0, "errors", LOWER)


def cancelling(bench):
    """As many cancels, each by its tag, of calls that a server does not answer."""
    program = bench.c_program("waiting", "rs_script")
    # It pauses, so nobody else can use it.
    port = bench.start_server()
    (ours,) = in_turn(lambda: float(run([program, port, "cancel", CANCELLED])), rounds=3)
    yield Figure(ours, "goal", 0.2, "s", LOWER)


SCENARIOS = {
    "c-submit-1": lambda bench: rates(bench, 1),
    "c-submit-1-instr": lambda bench: instruction_counts(bench, 1),
    "c-submit-1000": lambda bench: rates(bench, 1000),
    "c-submit-1000-instr": lambda bench: instruction_counts(bench, 1000),
    "blocking-300": blocking,
    "cancel-100000": cancelling,
}
