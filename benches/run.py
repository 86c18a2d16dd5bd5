"""Runs scenarios and prints their figures, or writes the page of them all; start it with scripts/bench.

Each file in families/ names its scenarios in SCENARIOS.
"""

import argparse
import importlib
import json
import os
import pathlib
import sys
import time

import figures
import harness
import machine
import page

# What the last run of all has measured: the page can be made of it again.
RESULTS = harness.OUT / "results.json"

# Of each client in a run of all, which takes about 25 minutes then.
ALL_ROUNDS = 5
# The share of the calls that are made in a quick run.
QUICK = 0.02


def scenarios():
    here = pathlib.Path(__file__).parent
    found = {}
    for path in sorted((here / "families").glob("*.py")):
        for scenario in importlib.import_module(f"families.{path.stem}").SCENARIOS:
            found[scenario.name] = scenario
    return found


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures the library against its peers: every scenario, or those that are named. A line a figure.",
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    parser.add_argument("--all", action="store_true", help="run every scenario, and write docs/benchmarks.md")
    parser.add_argument(
        "--page",
        action="store_true",
        help="write that page again, of what the last --all gave, but for the scenarios that are named: those are "
        "measured anew",
    )
    parser.add_argument("--quick", action="store_true", help="one round of few calls: to try it out")
    parser.add_argument("--list", action="store_true", help="print the names of the scenarios")
    return parser.parse_args()


def measure(bench, scenario):
    """Runs a scenario and prints its lines; the comparisons, and the seconds that they took."""
    harness.progress(scenario.name)
    start = time.monotonic()
    made = []
    for comparison in scenario.run(bench):
        made.append(comparison)
        for line in comparison.lines(scenario.name):
            print(line, flush=True)
    return made, time.monotonic() - start


def result_of(bench, scenario):
    """What the page is made of, of one scenario; so that a run of many goes on, a failure as well."""
    try:
        made, seconds = measure(bench, scenario)
    except (harness.Failure, OSError, ValueError, TypeError) as failure:
        harness.progress(f"{scenario.name} FAILED: {failure}")
        return {"failure": True}
    harness.progress(f"{scenario.name} took {seconds:.0f} s")
    return {"comparisons": [figures.as_json(one) for one in made], "seconds": seconds}


def run_all(bench, known, is_quick):
    """Every scenario, group by group, whatever becomes of the one before. What was measured and what failed is what the
    page is made of; it is kept after each scenario, for a run that is broken off."""
    start = time.monotonic()
    results = {
        "scenarios": {},
        "machine": machine.describe(bench),
        "rounds": bench.rounds,
        "is_quick": is_quick,
    }
    for scenario in page.in_order(known.values()):
        results["scenarios"][scenario.name] = result_of(bench, scenario)
        results["seconds"] = time.monotonic() - start
        RESULTS.write_text(json.dumps(results))
    harness.progress(f"all took {results['seconds'] / 60:.1f} minutes")
    return results


def write_page(known, results):
    """The exit code: whether a scenario has failed."""
    page.write(known, results)
    return 1 if any("failure" in result for result in results["scenarios"].values()) else 0


def main():
    wanted = arguments()
    known = scenarios()
    unknown = [name for name in wanted.scenarios if name not in known]
    if unknown or wanted.list:
        if unknown:
            print(f"scripts/bench: no such scenario: {' '.join(unknown)}; there are:", file=sys.stderr)
        print("\n".join(f"  {name}" for name in known), file=sys.stderr if unknown else sys.stdout)
        return 2 if unknown else 0
    if wanted.page:
        results = json.loads(RESULTS.read_text())
        with harness.Bench(results["rounds"], QUICK if results["is_quick"] else 1.0) as bench:
            results["scenarios"] |= {name: result_of(bench, known[name]) for name in wanted.scenarios}
        RESULTS.write_text(json.dumps(results))
        return write_page(known, results)
    rounds = 1 if wanted.quick else int(os.environ.get("BENCH_ROUNDS", ALL_ROUNDS if wanted.all else "7"))
    print("# scenario\tours\tpeer\ttheirs\tratio\tunit\tbetter", file=sys.stderr)
    with harness.Bench(rounds, QUICK if wanted.quick else 1.0) as bench:
        if not wanted.all:
            for name in wanted.scenarios or known:
                measure(bench, known[name])
            return 0
        results = run_all(bench, known, wanted.quick)
    return write_page(known, results)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except harness.Failure as failure:
        sys.exit(f"scripts/bench: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
