"""Memory and size. There is no peer: the figures stand beside the project's goals."""

import os
import platform
import shutil

from harness import LOWER, OUT, Figure, in_turn, run

# `BENCH_MEMORY_CALLS=10000000` makes the ten million calls of the scenario's name, which take minutes.
MEMORY_CALLS = int(os.environ.get("BENCH_MEMORY_CALLS", "300000"))


def idle(bench):
    program = bench.c_program("memory", "rs_script")
    (ours,) = in_turn(lambda: float(run([program, "idle", bench.port(), 100])), rounds=3)
    yield Figure(ours, "goal", 100, "KiB/client", LOWER)


def calls(bench):
    program = bench.c_program("memory", "rs_script")
    before, after = map(float, run([program, "calls", bench.port(), MEMORY_CALLS]).split())
    yield Figure(after, "warm", before, "KiB", LOWER)


def size(bench):
    stripped = OUT / "stripped"
    shutil.copyfile(bench.library(), stripped)
    run(["strip", *(["-x"] if platform.system() == "Darwin" else []), stripped])
    yield Figure(stripped.stat().st_size, "goal", 3 * 1024 * 1024, "bytes", LOWER)


SCENARIOS = {"memory-idle": idle, "memory-10m": calls, "library-size": size}
