"""The page of a run of all scenarios: docs/benchmarks.md, and a chart for each group in docs/benchmarks/."""

import shutil
import textwrap

import chart
import peers
from figures import BEST, HIGHER, of_json
from harness import ROOT

DOCS = ROOT / "docs"
# Of prose in the documents.
WIDTH = 118

GROUPS = {
    "calls": ("One call at a time", "Script calls on one server, each waited for before the next is made."),
    "submit": ("Calls that nobody waits for", "Calls are submitted, and what is complete is taken from a queue."),
    "pipelines": ("Pipelines", "Script calls in pipelines on one server."),
    "functions": (
        "Functions, and calls that happen exactly once",
        "No other client has either, so forms of one script stand beside each other.",
    ),
    "cluster": ("Clusters", "Three primaries on one machine, keys of all slots."),
    "delays": (
        "A round trip of 0.2, 1 and 5 ms",
        "A relay of one thread delays what either side sends. On loopback a client's own cost is all there is to see; "
        "here it is a small part of a call, unless many are under way.",
    ),
    "go": ("Go", "Script calls from Go."),
    "node": ("Node", "Script calls from Node, through both packages that call C from there."),
    "decode": ("Decoding", "A reply in memory becomes one that can be looked into, and is freed."),
    "footprint": ("Memory and size", "There is no peer: the goals are the project's own."),
}

NODE_IS_WOKEN = (
    "The library's thread takes the reply and wakes Node, which cannot wait for the library's descriptor itself: two "
    "more context switches a call."
)

COPIED_IN_NODE = "What has come is copied once, into Node's memory."

# Why a goal is missed that is known to be missed; shown where it is.
REASONS = {
    "c-submit-1000": "The server runs commands on one thread, and either client keeps it busy: it takes 3 µs for a "
    "call, so there are no more calls a second to be had.",
    "cancel-100000": "A cancel takes 3,400 instructions, whatever else is under way; but what it touches of one of "
    "100,000 calls is in no cache of the processor any more.",
    "go-cancel-100000": "A cancel takes what it takes in C, see cancel-100000, and each call's goroutine is woken. The "
    "figure has in it that the 100,000 calls are made.",
    "hook-call-1-instr": "The clock is read once more, pthread_cancel is held off while the hook runs, and what it is "
    "told is put together. The goal is 71 instructions; clock_gettime alone takes 76 outside callgrind, which counts "
    "26.",
    "function-server-time": "The longer name is looked up and sent; beside that, the server's own time for the plain "
    "function differs as much from round to round. It was reached in the run of 2026-11-27.",
    "once-call-1-instr": "A token is made for each call, and sent as one more key, whose slot is computed.",
    "once-pipeline-100-instr": "A token is made for each call, and sent as one more key, whose slot is computed; "
    "all else that an item of a pipeline takes is little.",
    "cluster-call-32": "A thread that waits is put to sleep and woken by the system for each call: 1.6 context "
    "switches a call, and 0.06 with 32 tasks on one thread. redis-rs called from threads has as many.",
    "go-call-1": "The call goes into the library's queue and comes out of it, 8,000 instructions where a blocking call "
    "takes 2,400: a goroutine must not wait in C. The system calls are the same in number.",
    "go-call-4": "Who submits is not who waits for replies, so a call costs one context switch; with rueidis it is one "
    "for two calls.",
    "go-call-16": "See go-call-4.",
    "go-call-1000": "What is kept of 1,000 calls is in no near cache of the processor: a call takes 1.6 to 2 times the "
    "user time that it takes among 64. It depends on the machine: the run of 2026-11-27, on another, reached 1.37.",
    "go-get-64m": "What has come is copied once, out of the library's buffer into Go's memory: 10 ms.",
    "node-get-64m": COPIED_IN_NODE,
    "node-get-64m-koffi": COPIED_IN_NODE,
    "node-call-1": NODE_IS_WOKEN,
    "node-call-1-koffi": NODE_IS_WOKEN,
}

HOW_TO_READ = """
Every client makes the same calls, `return redis.call('GET', KEYS[1]) * ARGV[1]` unless something else is said, on the
same server of the same machine. Clients are measured in turn, {rounds}, so that what else the machine does meets all
of them. The figure is the **median** of the rounds; the **middle half** is the range between their quartiles, and tells
how much of a difference is noise. Figures without it are of one round.

The **ratio** is the figure of rs_script, the first row, divided by that of the row. Rates (`calls/s`) are better when
they are higher, so a ratio above 1 is in favour of rs_script; of all else less is better, and a ratio below 1 is in
its favour. `CPU` is the time that the client's process uses, on all its threads, in user and system mode.
`instructions` are those in user mode, counted by callgrind: they do not depend on what else the machine does.

The **goal** is what the project set itself for that ratio, or, on the row of rs_script, for the figure itself. A goal
that is missed says so. Figures of one machine say little about another: compare ratios.
"""

HOW_TO_REPEAT = """
In a clone, on Linux with Rust, a C compiler, Go and Node:

```sh
scripts/bench --all             # everything, and this page: about 25 minutes on two idle processors
scripts/bench --all --quick     # one round of few calls, to try it out
scripts/bench c-call-1          # one scenario; a line a figure, fields separated by tabs
scripts/bench --list            # their names
```

`scripts/bench` fetches the clients, in the versions above, and starts its own servers. `BENCH_ROUNDS` is how often each
client is measured. A scenario's source is in `benches/families`, what drives a client in `benches/c`, `benches/go`,
`benches/node`, `benches/python`, `benches/pipeline` and `benches/cluster`; the relay is `benches/relay`.
"""


def in_order(scenarios):
    """Group by group."""
    return sorted(scenarios, key=lambda scenario: list(GROUPS).index(scenario.group))


def show(value):
    """A figure for people: as many digits as mean something."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def unit(metric):
    return metric.unit.replace("us/", "µs/")


def unit_and_better(metric):
    return f"{unit(metric)}, {'more' if metric.better == HIGHER else 'less'} is better"


def goal_text(metric, verdict):
    return f"{bound(metric, verdict.goal)}: {'reached' if verdict.is_met else '**missed**'}"


def bound(metric, goal):
    return f"{'at least' if metric.better == HIGHER else 'at most'} {show(goal.value)}"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def goals_of(comparison, series):
    """The goals that are told in the row of this series."""
    for verdict in comparison.verdicts():
        of = verdict.goal.of
        about = comparison.ours if of is None else comparison.best() if of == BEST else None
        if about is series or (about is None and of == series.client):
            yield goal_text(comparison.metric, verdict)


def rows(comparison):
    for series in (comparison.ours, *comparison.others):
        low, high = map(show, series.quartiles)
        ratio = comparison.ratio(series)
        yield (
            unit(comparison.metric) if series is comparison.ours else "",
            series.client,
            show(series.median),
            f"{low} to {high}" if len(series.rounds) > 1 else "",
            "" if series is comparison.ours or ratio is None else f"{ratio:.2f}",
            "; ".join(goals_of(comparison, series)),
        )


HEAD = ("figure", "client", "median", "middle half", "ratio", "goal")


def wrapped(text, indent=""):
    lines = textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def scenario_part(scenario, comparisons):
    parts = [f"### {scenario.name}", wrapped(scenario.text)]
    if comparisons is None:
        return [*parts, "This scenario **failed** in this run."]
    parts.append(table(HEAD, [row for comparison in comparisons for row in rows(comparison)]))
    missed = any(not verdict.is_met for comparison in comparisons for verdict in comparison.verdicts())
    if missed and scenario.name in REASONS:
        parts.append(wrapped(f"Why it is missed: {REASONS[scenario.name]}"))
    return parts


def group_part(group, scenarios, results, charts_folder):
    title, text = GROUPS[group]
    # A scenario's first figure is what it is about; the others are in its table.
    charts = [(scenario.name, results[scenario.name][0]) for scenario in scenarios if results.get(scenario.name)]
    (charts_folder / f"{group}.svg").write_text(chart.svg(title, charts, unit_and_better, show))
    parts = [f"## {title}", wrapped(text), f"![{title}: a bar chart of the medians below](benchmarks/{group}.svg)"]
    for scenario in scenarios:
        parts += scenario_part(scenario, results.get(scenario.name))
    return parts


def goals_part(scenarios, results):
    made, count = [], 0
    for scenario in scenarios:
        for comparison in results.get(scenario.name) or ():
            for verdict in comparison.verdicts():
                count += 1
                if not verdict.is_met:
                    of = f" times {verdict.goal.of}" if verdict.goal.of else ""
                    goal = bound(comparison.metric, verdict.goal) + of
                    link = f"[{scenario.name}](#{scenario.name.replace('.', '')})"
                    reached = f"{verdict.reached:.2f}" if verdict.goal.of else show(verdict.reached)
                    made.append(wrapped(f"- {link}, {unit(comparison.metric)}: {goal}; reached {reached}", "  "))
    if not made:
        return ["## Goals", f"All {count} goals are reached."]
    return ["## Goals", f"{len(made)} of {count} goals are **missed**:", "\n".join(made)]


def machine_part(run):
    of = run["machine"]
    tools = ", ".join(f"{name} {version}" for name, version in of["tools"].items())
    machine = [
        ("date", of["date"]),
        ("rs_script", of["version"]),
        ("processor", f"{of['processor']}, {of['cores']} logical processors"),
        ("system", of["system"]),
        ("servers", of["servers"]),
        ("compilers and runtimes", tools),
        ("rounds", f"{run['rounds']}; the run took {run['seconds'] / 60:.0f} minutes"),
    ]
    clients = [(name, of["peers"][name], text) for name, text in peers.TEXTS.items()]
    return [
        "## What it was measured on",
        table(("", ""), machine),
        "## The clients",
        "The newest release of each that its registry had, and how it is used:",
        table(("client", "version", "used as"), clients),
    ]


def write(known, run, docs=DOCS):
    """`known`: scenarios by name; `run`: what run.py's run_all gave; `docs`: the folder that the page is written to."""
    results = {
        name: [of_json(one) for one in result["comparisons"]] if "comparisons" in result else None
        for name, result in run["scenarios"].items()
    }
    charts = docs / "benchmarks"
    shutil.rmtree(charts, ignore_errors=True)
    charts.mkdir(parents=True)
    scenarios = in_order(scenario for scenario in known.values() if scenario.name in results)
    parts = ["# Benchmarks"]
    intro = (
        "rs_script beside the clients that people use now, every scenario that `scripts/bench` has. A slower result is "
        "shown like any other. This page is written by `scripts/bench --all`; [Performance](performance.md) sums it up."
    )
    parts.append(wrapped(intro))
    if run["is_quick"]:
        quick = "**This is a quick run: one round of few calls. Its figures tell nothing but that it works.**"
        parts.append(wrapped(quick))
    if len(scenarios) < len(known):
        parts.append(f"**The run was broken off: it has {len(scenarios)} of {len(known)} scenarios.**")
    rounds = "once" if run["rounds"] == 1 else f"{run['rounds']} rounds at most"
    parts += ["## How to read it", *map(wrapped, HOW_TO_READ.format(rounds=rounds).strip().split("\n\n"))]
    parts += goals_part(scenarios, results)
    parts += machine_part(run)
    for group in GROUPS:
        members = [scenario for scenario in scenarios if scenario.group == group]
        if members:
            parts += group_part(group, members, results, charts)
    parts += ["## How to repeat it", HOW_TO_REPEAT.strip()]
    (docs / "benchmarks.md").write_text("\n\n".join(parts) + "\n")
