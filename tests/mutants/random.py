#!/usr/bin/env python3
"""Mutants of the core that nobody has chosen: so many of those that cargo-mutants knows, picked by a seed.

Run by `scripts/mutants --random COUNT [SEED]`, with the copies of the repository that it has made. Each mutant is built
and given to the library's own tests, the simulators in a short form; what they miss, to the simulators in a longer
one, and to files of tests that are quick. Each copy has a mutant of its own. What is known of a mutant is written down
at once: a run that was ended goes on where it was.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import queue
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

VERSION = "27.1.0"
# What decides; what only carries it out (io, ffi) is for the tests with servers.
FILES = [
    "src/core/**", "src/session/**", "src/resp/**", "src/request/**", "src/api/packed/**", "src/api/args.rs",
]
NOT = ["src/session/simulation*", "src/session/simulation/**", "src/session/bench.rs", "**/tests.rs"]
# One that waits half a minute by the clock, of which a mutant of the core changes nothing.
SKIPPED = ["while_who_polls_a_queue_without_a_thread_does_the_work"]
# Files of tests with servers, each of them some seconds; a program at a time.
QUICK = [
    "scripts/life", "scripts/functions", "scripts/admin", "pipelines/pipeline", "pipelines/transaction",
    "calls/replies", "calls/from_reply", "calls/call_options", "once/repeats", "outcomes/refusals",
    "connections/limits", "cluster/pipeline", "logins/rights",
]
# A file takes some seconds, and 20,000 schedules half a minute, on an idle machine.
HANGS_AFTER = 600
# How cargo ends where something does not compile; ended otherwise, it says nothing about a mutant.
DOES_NOT_COMPILE = 101


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


class Copy:
    """A copy of the repository with what is built of it; one mutant at a time is in it."""

    def __init__(self, tree, target):
        self.tree = tree
        self.environment = os.environ | {"CARGO_TARGET_DIR": str(target), "CARGO_MANIFEST_DIR": str(tree)}
        _, self.unchanged = self.library()

    def change(self, mutant, backwards=False):
        options = ["--quiet", "--no-backup-if-mismatch", "--fuzz=0", "--reject-file=-"]
        if backwards:
            options.append("--reverse")
        subprocess.run(["patch", *options, mutant["file"]], cwd=self.tree, check=True, input=mutant["diff"], text=True,
                       stdout=subprocess.DEVNULL)

    def build(self, what):
        """The programs of tests: name to file; None if the mutant does not compile."""
        built = subprocess.run(["cargo", "test", "--locked", "--profile", "simulation", "--no-run", "--quiet",
                                "--message-format=json", *what], cwd=self.tree, env=self.environment,
                               capture_output=True, text=True)
        if built.returncode == DOES_NOT_COMPILE:
            return None
        if built.returncode != 0:
            sys.exit(f"cargo ended with {built.returncode}: {built.stderr}")
        programs = {}
        for line in built.stdout.splitlines():
            message = json.loads(line)
            if message.get("executable") and message["profile"]["test"]:
                programs[message["target"]["name"]] = message["executable"]
        return programs

    def library(self):
        """The program of the library's own tests, and the sum of what is in it."""
        programs = self.build(["--lib"])
        if programs is None:
            return None, None
        [program] = programs.values()
        return program, hashlib.sha256(pathlib.Path(program).read_bytes()).hexdigest()

    def caught_by(self, program, arguments=(), schedules="1000"):
        """The test that fails, or how else the program ends; None if it ends well."""
        environment = self.environment | {"RS_SCRIPT_SCHEDULES": schedules}
        with subprocess.Popen([program, *arguments], cwd=self.tree, env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace",
                              start_new_session=True) as running:
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

    def judge(self):
        """What becomes of the mutant that is in it."""
        program, sum_of_it = self.library()
        if program is None:
            return "unviable", ""
        if sum_of_it == self.unchanged:
            return "equal", "the same program"
        skipped = [word for name in SKIPPED for word in ("--skip", name)]
        by = self.caught_by(program, skipped)
        if by:
            return "caught", by
        return "missed", ""

    def judge_longer(self):
        """The same by as many schedules as a mutant gets that somebody has chosen."""
        program, _ = self.library()
        by = self.caught_by(program, ["simulation"], "20000")
        if by:
            return "caught", f"20,000 schedules: {by}"
        return "missed", "by 20,000 schedules"

    def judge_with_servers(self):
        """The same by tests with servers."""
        programs = {}
        for file in QUICK:
            name, module = file.split("/")
            if name not in programs:
                programs |= self.build(["--test", name])
            by = self.caught_by(programs[name], [f"{module}::"])
            if by:
                return "caught", f"tests/{file}.rs: {by}"
        return "missed", "by servers too"


def copies(trees):
    """Those in these folders, ready for their first mutants."""
    first = pathlib.Path(os.environ["CARGO_TARGET_DIR"])
    made = []
    for number, tree in enumerate(trees, 1):
        target = first if number == 1 else first.with_name(f"{first.name}-{number}")
        if not target.exists() and made:
            # The crates that it depends on need not be built again.
            shutil.copytree(first, target, symlinks=True)
        made.append(Copy(tree, target))
    return made


def main():
    root, count, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    trees = [pathlib.Path(tree) for tree in sys.argv[4:]]
    mutants = pick(tool(root), trees[0], count, seed)
    record = root / f"build/mutants/random-{seed}.jsonl"
    known = {}
    if record.exists():
        for line in record.read_text().splitlines():
            entry = json.loads(line)
            known[entry["key"]] = entry
    for mutant in mutants:
        # The file as it is, and the change: what was found is true for as long as both are the same.
        text = (trees[0] / mutant["file"]).read_text() + mutant["diff"]
        mutant["key"] = hashlib.sha256(text.encode()).hexdigest()[:16]

    idle = queue.Queue()
    for copy in copies(trees):
        idle.put(copy)
    noting = threading.Lock()

    def find_out(mutant, judge):
        copy = idle.get()
        start = time.monotonic()
        copy.change(mutant)
        try:
            outcome, by = judge(copy)
        finally:
            copy.change(mutant, backwards=True)
            idle.put(copy)
        entry = {"key": mutant["key"], "name": mutant["name"], "outcome": outcome, "by": by,
                 "seconds": round(time.monotonic() - start)}
        with noting:
            known[mutant["key"]] = entry
            with record.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            print(f"{outcome:<9}{mutant['name']}  {by}", file=sys.stderr)

    def find_out_all(wanted, judge):
        workers = concurrent.futures.ThreadPoolExecutor(idle.qsize())
        running = [workers.submit(find_out, mutant, judge) for mutant in wanted]
        try:
            for one in concurrent.futures.as_completed(running):
                one.result()
        finally:
            workers.shutdown(cancel_futures=True)

    def missed(so_far):
        return [mutant for mutant in mutants
                if (known[mutant["key"]]["outcome"], known[mutant["key"]]["by"]) == ("missed", so_far)]

    find_out_all([mutant for mutant in mutants if mutant["key"] not in known], Copy.judge)
    find_out_all(missed(""), Copy.judge_longer)
    find_out_all(missed("by 20,000 schedules"), Copy.judge_with_servers)

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
