#!/usr/bin/env python3
"""Mutants of the core that nobody has chosen: so many of those that cargo-mutants knows, picked by a seed.

Run by `scripts/mutants --random COUNT [SEED]`, in the copy of the repository that it has made. Each mutant is built
and given to the library's own tests, the simulators in a short form; what they miss, to files of tests that are
quick. What is known of a mutant is written down at once: a run that was ended goes on where it was.
"""

import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

VERSION = "27.1.0"
# What decides; what only carries it out (io, ffi) is for the tests with servers.
FILES = [
    "src/core/**", "src/session/**", "src/resp/**", "src/request/**", "src/api/packed/**", "src/api/args.rs",
]
NOT = ["src/session/simulation*", "src/session/simulation/**", "src/session/bench.rs", "**/tests.rs"]
# One that waits half a minute by the clock, of which a mutant of the core changes nothing.
SKIPPED = ["while_who_polls_a_queue_without_a_thread_does_the_work"]
# Files of tests with servers, each of them some seconds; in the order in which they find most.
QUICK = [
    "scripts/life", "pipelines/pipeline", "pipelines/transaction", "calls/replies", "scripts/functions",
    "once/repeats", "calls/from_reply", "outcomes/refusals", "connections/limits", "calls/call_options",
    "cluster/pipeline", "scripts/admin", "logins/rights",
]
# A file takes some seconds on an idle machine.
HANGS_AFTER = 240


def tool(root):
    """Where cargo-mutants is; it is built if it is not there."""
    place = root / "target/tools"
    program = place / "bin/cargo-mutants"
    if VERSION not in subprocess.run([program, "mutants", "--version"], capture_output=True, text=True).stdout \
            if program.exists() else True:
        print(f"building cargo-mutants {VERSION} in {place}", file=sys.stderr)
        environment = {k: v for k, v in os.environ.items() if k != "CARGO_TARGET_DIR"}
        subprocess.run(["cargo", "install", "--quiet", "--locked", "--debug", "--root", place, "--version", VERSION,
                        "cargo-mutants"], check=True, env=environment)
    return program


def pick(program, tree, count, seed):
    """So many mutants, always the same ones for a seed."""
    command = [program, "mutants", "--list", "--json", "--no-config", "--colors", "never"]
    for glob in FILES:
        command += ["-f", glob]
    for glob in NOT:
        command += ["-e", glob]
    mutants = json.loads(subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout)
    mutants.sort(key=lambda mutant: mutant["name"])
    print(f"{len(mutants)} mutants in all; {min(count, len(mutants))} of them by seed {seed}", file=sys.stderr)
    random.Random(seed).shuffle(mutants)
    return mutants[:count]


def change(tree, mutant, backwards=False):
    options = ["--quiet", "--no-backup-if-mismatch", "--fuzz=0", "--reject-file=-"]
    if backwards:
        options.append("--reverse")
    subprocess.run(["patch", *options, mutant["file"]], cwd=tree, check=True, input=mutant["diff"], text=True,
                   stdout=subprocess.DEVNULL)


def build(tree, what):
    """The programs of tests: name to file; None if the mutant does not compile."""
    built = subprocess.run(["cargo", "test", "--locked", "--profile", "simulation", "--no-run", "--quiet",
                            "--message-format=json", *what], cwd=tree, capture_output=True, text=True)
    if built.returncode != 0:
        return None
    programs = {}
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["profile"]["test"]:
            programs[message["target"]["name"]] = message["executable"]
    return programs


def caught_by(program, tree, arguments=()):
    """The test that fails, or how else the program ends; None if it ends well."""
    with subprocess.Popen([program, *arguments], cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", start_new_session=True) as running:
        try:
            output, _ = running.communicate(timeout=HANGS_AFTER)
        except subprocess.TimeoutExpired:
            # With the servers that it has started.
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
            return "it hangs"
    if running.returncode == 0:
        return None
    failed = [line.strip() for line in output.splitlines() if line.startswith("    ") and "::" in line]
    return failed[0] if failed else f"it ends with {running.returncode}"


def judge(tree, mutant, unchanged):
    """What becomes of a mutant that is in the tree."""
    programs = build(tree, ["--lib"])
    if programs is None:
        return "unviable", ""
    [program] = programs.values()
    if hashlib.sha256(pathlib.Path(program).read_bytes()).hexdigest() == unchanged:
        return "equal", "the same program"
    skipped = [word for name in SKIPPED for word in ("--skip", name)]
    by = caught_by(program, tree, skipped)
    if by:
        return "caught", by
    return "missed", ""


def judge_again(tree):
    """The same by tests with servers."""
    names = sorted({file.split("/")[0] for file in QUICK})
    programs = build(tree, [word for name in names for word in ("--test", name)])
    for file in QUICK:
        name, module = file.split("/")
        by = caught_by(programs[name], tree, [f"{module}::"]) if programs else None
        if by:
            return "caught", f"tests/{file}.rs: {by}"
    return "missed", "by these too"


def main():
    root, tree = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    count, seed = int(sys.argv[3]), int(sys.argv[4])
    mutants = pick(tool(root), tree, count, seed)
    record = root / f"build/mutants/random-{seed}.jsonl"
    known = {}
    if record.exists():
        for line in record.read_text().splitlines():
            entry = json.loads(line)
            known[entry["key"]] = entry

    def note(mutant, outcome, by, seconds):
        # The file as it is, and the change: what was found is true for as long as both are the same.
        entry = {"key": mutant["key"], "name": mutant["name"], "outcome": outcome, "by": by, "seconds": round(seconds)}
        known[mutant["key"]] = entry
        with record.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        print(f"{outcome:<9}{mutant['name']}  {by}", file=sys.stderr)

    for mutant in mutants:
        text = (tree / mutant["file"]).read_text() + mutant["diff"]
        mutant["key"] = hashlib.sha256(text.encode()).hexdigest()[:16]

    os.environ["RS_SCRIPT_SCHEDULES"] = os.environ.get("RS_SCRIPT_SCHEDULES", "1000")
    os.environ["CARGO_MANIFEST_DIR"] = str(tree)
    [program] = build(tree, ["--lib"]).values()
    unchanged = hashlib.sha256(pathlib.Path(program).read_bytes()).hexdigest()
    wanted = [mutant for mutant in mutants if mutant["key"] not in known]
    for stage in ("lib", "quick"):
        if stage == "quick":
            wanted = [mutant for mutant in mutants
                      if (known[mutant["key"]]["outcome"], known[mutant["key"]]["by"]) == ("missed", "")]
        for mutant in wanted:
            start = time.monotonic()
            change(tree, mutant)
            try:
                outcome, by = judge(tree, mutant, unchanged) if stage == "lib" else judge_again(tree)
            finally:
                change(tree, mutant, backwards=True)
            note(mutant, outcome, by, time.monotonic() - start)

    ends = [known[mutant["key"]] for mutant in mutants]
    counts = {outcome: sum(entry["outcome"] == outcome for entry in ends)
              for outcome in ("caught", "missed", "equal", "unviable")}
    judged = counts["caught"] + counts["missed"]
    print()
    for entry in sorted(ends, key=lambda entry: entry["name"]):
        if entry["outcome"] == "missed":
            print(f"missed: {entry['name']}")
    share = 100 * counts["caught"] / judged if judged else 0
    print(f"{counts['caught']} of {judged} caught ({share:.1f} %); {counts['equal']} make no difference to the "
          f"program, {counts['unviable']} do not compile")


main()
