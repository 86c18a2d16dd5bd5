"""Memory and size. There is no peer: the figures stand beside the project's goals."""

import os
import platform
import shutil

from figures import LOWER, Comparison, Goal, Metric, Scenario, Series
from harness import OUT, numbers, run

# `BENCH_MEMORY_CALLS=10000000` makes the ten million calls of the scenario's name, which take minutes.
MEMORY_CALLS = int(os.environ.get("BENCH_MEMORY_CALLS", "300000"))


def idle(bench):
    measures = {"rs_script": numbers([bench.c_program("memory", "rs_script"), "idle", bench.port(), 100])}
    yield from bench.compare(measures, Metric("KiB/client", LOWER, (Goal(100),)), rounds=3)


def calls(bench):
    program = bench.c_program("memory", "rs_script")
    before, after = numbers([program, "calls", bench.port(), bench.calls(MEMORY_CALLS)])()
    warm = Series("rs_script, after a tenth", (before,))
    yield Comparison(Metric("KiB", LOWER), Series("rs_script", (after,)), (warm,))


def size(bench):
    stripped = OUT / "stripped"
    shutil.copyfile(bench.library(), stripped)
    run(["strip", *(["-x"] if platform.system() == "Darwin" else []), stripped])
    goal = Goal(3 * 1024 * 1024)
    yield Comparison(Metric("bytes", LOWER, (goal,)), Series("rs_script", (stripped.stat().st_size,)))


SCENARIOS = [
    Scenario("memory-idle", "footprint", "What one more client that does nothing adds to the resident size.", idle),
    Scenario(
        "memory-10m",
        "footprint",
        f"The resident size after {MEMORY_CALLS:,} calls, and after a tenth of them: it does not grow with calls.",
        calls,
    ),
    Scenario("library-size", "footprint", "The shared library, stripped.", size),
]
