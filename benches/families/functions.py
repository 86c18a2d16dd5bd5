"""One script in several forms, of ours: as a function, pinned and as written; with calls that happen exactly once;
with a hook that is told of each."""

import re

from figures import HIGHER, LOWER, Goal, Metric, Scenario
from harness import instructions, numbers, run

COUNTED = {"call": (500, 2500), 100: (1000, 5000)}
CALLS = {"call": 20_000, 100: 100_000}
# Of each round in which the server's own time is taken.
TIMED = 20_000
ROUNDS = 9

FUNCTION_GOAL, ONCE_GOAL, HOOK_GOAL = 1.05, 1.2, 1.03


def server(bench):
    return bench.once("server for forms", bench.start_server)


def counted(bench, size, form, other, goal):
    """The client's instructions for a call in one form and in another."""

    def count(form):
        program = bench.c_program("forms", "rs_script")
        command = lambda calls: [program, server(bench), form, size, calls]
        return lambda: (instructions(command, *COUNTED[size]),)

    names = {NAMES[form]: count(form), NAMES[other]: count(other)}
    yield from bench.compare(names, Metric("instructions/call", LOWER, (Goal(goal, NAMES[other]),)), rounds=1)


def rates(bench, size, *forms):
    calls = bench.calls(CALLS[size], 100)

    def measure(form):
        command = numbers([bench.c_program("forms", "rs_script"), server(bench), form, size, calls])

        def rate():
            # Tokens of earlier calls are nobody's any more.
            run(["redis-cli", "-p", server(bench), "flushall"])
            return command()

        return rate

    measures = {NAMES[form]: measure(form) for form in forms}
    yield from bench.compare(measures, Metric("calls/s", HIGHER), Metric("CPU us/call", LOWER))


def server_time(bench, port, goal):
    """Microseconds of a call in the server, as it counts them itself (usec_per_call of INFO commandstats)."""

    def measure(form):
        def microseconds():
            run(["redis-cli", "-p", port, "config", "resetstat"])
            run([bench.c_program("forms", "rs_script"), port, form, 100, bench.calls(TIMED, 100)])
            stats = run(["redis-cli", "-p", port, "info", "commandstats"])
            return (float(re.search(r"^cmdstat_fcall:.*usec_per_call=([\d.]+)", stats, re.MULTILINE)[1]),)

        return microseconds

    # In that order, so that the pinned library is not always the one that the server has met first.
    measures = {NAMES[form]: measure(form) for form in ("pinned", "named")}
    metric = Metric("us/call in the server", LOWER, (Goal(goal, NAMES["named"]),))
    yield from bench.compare(measures, metric, rounds=ROUNDS)


def server_time_on_valkey(bench):
    program = bench.other_server("valkey-9.1")
    port = bench.once("valkey", lambda: bench.start_server(program=program))
    yield from server_time(bench, port, 1.3)


NAMES = {
    "script": "rs_script, EVALSHA",
    "pinned": "rs_script, pinned function",
    "named": "rs_script, plain function",
    "once": "rs_script, once",
    "once-function": "rs_script, function, once",
    "hooked": "rs_script, with a hook",
}

SCENARIOS = [
    Scenario(
        "function-call-1-instr",
        "functions",
        "A function of a pinned library (FCALL) and the same script (EVALSHA), one call after the other; the client's "
        "instructions for a call.",
        lambda bench: counted(bench, "call", "pinned", "script", FUNCTION_GOAL),
    ),
    Scenario(
        "function-pipeline-100-instr",
        "functions",
        "The same in pipelines of 100 calls.",
        lambda bench: counted(bench, 100, "pinned", "script", FUNCTION_GOAL),
    ),
    Scenario(
        "hook-call-1-instr",
        "functions",
        "A script's calls with a hook that is told of each (rs_options_set_call_hook), and without; the client's "
        "instructions for a call, those of the hook among them.",
        lambda bench: counted(bench, "call", "hooked", "script", HOOK_GOAL),
    ),
    Scenario(
        "function-server-time",
        "functions",
        "What a function of a pinned library takes the server, and what one does under the name that is written in it.",
        lambda bench: server_time(bench, server(bench), 1.1),
    ),
    Scenario(
        "function-server-time-valkey",
        "functions",
        "The same on Valkey 9.1.",
        server_time_on_valkey,
    ),
    Scenario(
        "once-call-1-instr",
        "functions",
        "A script each of whose calls happens exactly once, and the same script without that, one call after the "
        "other; the client's instructions for a call.",
        lambda bench: counted(bench, "call", "once", "script", ONCE_GOAL),
    ),
    Scenario(
        "once-pipeline-100-instr",
        "functions",
        "The same in pipelines of 100 calls.",
        lambda bench: counted(bench, 100, "once", "script", ONCE_GOAL),
    ),
    Scenario(
        "once-call-1",
        "functions",
        "Calls that happen exactly once against plain ones, one after the other. The server stores a token for each.",
        lambda bench: rates(bench, "call", "once", "script", "once-function", "pinned"),
    ),
    Scenario(
        "once-pipeline-100",
        "functions",
        "The same in pipelines of 100 calls: what the server can do at most.",
        lambda bench: rates(bench, 100, "once", "script", "once-function", "pinned"),
    ),
]
