"""Calls that nobody waits for, on one server: against the asynchronous API of hiredis on libevent, and against the
project's goals."""

from figures import HIGHER, LOWER, Goal, Metric, Scenario
from harness import instructions, numbers

CALLS = {1: 20_000, 1000: 300_000}
# Enough that starting and ending cancel out, few enough for callgrind.
COUNTED = {1: (500, 2500), 1000: (10_000, 40_000)}
GOALS = {1: 0.95, 1000: 1.5}

WAITING = 300
CANCELLED = 100_000

PEER = "hiredis on libevent"


def programs(bench):
    """Ours and the peer's: each on one thread that waits for the socket itself."""
    return {
        "rs_script": bench.c_program("submit", "rs_script"),
        PEER: bench.c_program("libevent", None, ("-levent_core",)),
    }


def rates(bench, at_once):
    calls = bench.calls(CALLS[at_once], at_once)
    measures = {
        client: numbers([program, bench.port(), at_once, calls]) for client, program in programs(bench).items()
    }
    rate = Metric("calls/s", HIGHER, (Goal(GOALS[at_once], PEER),))
    yield from bench.compare(measures, rate, Metric("CPU us/call", LOWER))


def instruction_counts(bench, at_once):
    def measure(program):
        return lambda: (instructions(lambda calls: [program, bench.port(), at_once, calls], *COUNTED[at_once]),)

    measures = {client: measure(program) for client, program in programs(bench).items()}
    yield from bench.compare(measures, Metric("instructions/call", LOWER), rounds=1)


def blocking(bench):
    command = [bench.c_program("waiting", "rs_script"), bench.port(), "blocking", WAITING]
    metrics = (
        Metric("s", LOWER, (Goal(2),)),
        Metric("threads", LOWER, (Goal(2),)),
        Metric("errors", LOWER, (Goal(0),)),
    )
    yield from bench.compare({"rs_script": numbers(command)}, *metrics, rounds=3)


def cancelling(bench):
    program = bench.c_program("waiting", "rs_script")
    # It pauses, so nobody else can use it.
    port = bench.start_server()
    measures = {"rs_script": numbers([program, port, "cancel", CANCELLED])}
    yield from bench.compare(measures, Metric("s", LOWER, (Goal(0.2),)), rounds=3)


SCENARIOS = [
    Scenario(
        "c-submit-1",
        "submit",
        "One call under way at a time, on one thread that looks after its socket itself.",
        lambda bench: rates(bench, 1),
    ),
    Scenario(
        "c-submit-1-instr",
        "submit",
        "The same; the client's instructions for a call.",
        lambda bench: instruction_counts(bench, 1),
    ),
    Scenario("c-submit-1000", "submit", "1,000 calls under way, on one thread.", lambda bench: rates(bench, 1000)),
    Scenario(
        "c-submit-1000-instr",
        "submit",
        "The same; the client's instructions for a call.",
        lambda bench: instruction_counts(bench, 1000),
    ),
    Scenario(
        "blocking-300",
        "submit",
        "300 BLPOPs of a second at once, with default options: seconds until all are answered, threads of the library, "
        "and calls that failed.",
        blocking,
    ),
    Scenario(
        "cancel-100000",
        "submit",
        "100,000 calls that a server does not answer, each cancelled by its tag: seconds for all.",
        cancelling,
    ),
]
