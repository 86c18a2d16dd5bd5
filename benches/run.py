"""Runs scenarios and prints their figures; start it with scripts/bench.

Each file in families/ names its scenarios in SCENARIOS: a name and a function that takes the bench and yields figures.
"""

import importlib
import pathlib
import sys

import harness


def scenarios():
    here = pathlib.Path(__file__).parent
    found = {}
    for path in sorted((here / "families").glob("*.py")):
        found.update(importlib.import_module(f"families.{path.stem}").SCENARIOS)
    return found


def main(names):
    known = scenarios()
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"scripts/bench: no such scenario: {' '.join(unknown)}; there are:", file=sys.stderr)
        print("\n".join(f"  {name}" for name in known), file=sys.stderr)
        return 2
    print("# scenario\tours\tpeer\ttheirs\tratio\tunit\tbetter", file=sys.stderr)
    with harness.Bench() as bench:
        for name in names or known:
            harness.progress(name)
            for figure in known[name](bench):
                print(figure.line(name), flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except harness.Failure as failure:
        sys.exit(f"scripts/bench: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
