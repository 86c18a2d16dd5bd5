#!/usr/bin/env python3
"""Compiles and runs the examples of docs/*.md and the READMEs on a server of its own: `examples.py [LANGUAGE ...]`.

Every block of C, C++, Rust, Go and JavaScript is taken. One with a `main` (in JavaScript: one that connects) is a
program; one that begins with a declaration stands beside what follows it on its page; any other is the body of a
function that is given `client`, `multiply` and, in Go, `ctx`. Before each the server holds foo = 2 and nothing else.

A comment in front of a block says what else there is to know:

    <!-- prints: 10 -->              what it writes to stdout, with ` | ` between lines. Otherwise it writes nothing
    <!-- compiled only: why -->      it cannot run here
    <!-- not compiled: why -->       not even that: other libraries' programs
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import languages

ROOT = Path(__file__).resolve().parents[2]
URL = "redis://127.0.0.1:6379"
LANGUAGES = ("c", "cpp", "rust", "go", "js")
# Fences whose blocks are no programs.
OTHERS = ("sh", "text", "cmake", "lua", "ts", "python", "")


class Block:
    def __init__(self, page, number, language, code, line, notes):
        self.name = f"{re.sub(r'[^a-z0-9]', '_', page.lower())}_{number}"
        self.page, self.language, self.code, self.line = page, language, code, line
        self.prints = notes.get("prints", "").split(" | ") if "prints" in notes else []
        self.runs = "compiled only" not in notes
        programs = {"c": r"\bint main\(", "cpp": r"\bint main\(", "rust": r"\bfn main\(\)", "go": r"^func main\(\)"}
        programs["js"] = r"await connect\("
        declarations = {
            "c": r"(//.*\n|/\*.*\*/\n)*(static|struct|enum|typedef|#include)\b",
            "cpp": r"(//.*\n)*(static|struct|class|template|#include)\b",
            "go": r"(//.*\n)*(func|type|var \w+ =)\b",
        }
        self.is_program = bool(re.search(programs[language], code, re.M))
        self.is_declaration = not self.is_program and bool(re.match(declarations.get(language, "$^"), code))


def blocks():
    pages = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
    pages += [ROOT / "bindings/go/README.md", ROOT / "bindings/node/README.md"]
    found = []
    for path in pages:
        page, notes, inside = str(path.relative_to(ROOT)), {}, None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if inside is not None:
                if line == "```":
                    start, language, code = inside
                    if language in LANGUAGES and "not compiled" not in notes:
                        found.append(Block(page, len(found), language, "\n".join(code) + "\n", start, notes))
                    notes, inside = {}, None
                else:
                    inside[2].append(line)
            elif fence := re.match(r"\s*```(.*)", line):
                # Neither one in another language, nor one that stands in a list, is passed over in silence.
                is_known = fence[1] in LANGUAGES + OTHERS or fence[1].startswith("{")
                if line != "```" + fence[1] or not is_known:
                    sys.exit(f"{page}:{number}: nobody knows how to try {line}")
                inside = (number + 1, fence[1], [])
            elif note := re.fullmatch(r"<!-- ([\w ]+): (.*) -->", line):
                notes[note[1]] = note[2]
            elif line:
                notes = {}
    return found


class Server:
    """A server on a Unix socket in a folder of its own."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="rs_script-docs-")
        socket = f"{self.folder}/socket"
        with open(f"{self.folder}/log", "w") as log:
            command = ["redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", self.folder]
            self.process = subprocess.Popen(command, stdout=log)
        deadline = time.monotonic() + 120
        while not Path(socket).exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit("the server for the examples does not start")
            time.sleep(0.01)
        return f"unix://{socket}"

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)


def main(chosen_languages):
    failed = 0
    every = blocks()
    with Server() as url:
        for language in chosen_languages:
            start = time.monotonic()
            chosen = [block for block in every if block.language == language]
            for block in chosen:
                block.code = block.code.replace(URL, url)
            command, environment, programs = getattr(languages, language)(chosen)
            printed = {}

            def ended(command):
                words = [str(word) for word in [*command, url]]
                try:
                    return subprocess.run(
                        words, stdout=subprocess.PIPE, text=True, env=os.environ | environment, timeout=300
                    )
                except subprocess.TimeoutExpired:
                    sys.exit(f"the examples in {language} hang")

            runs = [(name, ended([program])) for name, program in programs.items()] + [(None, ended(command))]
            for name, done in runs:
                for part in ([f"{name}\n{done.stdout}"] if name else done.stdout.split("\1")[1:]):
                    block, _, text = part.partition("\n")
                    printed[block] = text.splitlines()
                if done.returncode != 0:
                    failed += 1
                    print(f"the examples in {language} ended with {done.returncode}", file=sys.stderr)
            for block in chosen:
                if block.is_declaration or not block.runs:
                    continue
                said = printed.get(block.name)
                if said != block.prints:
                    failed += 1
                    print(
                        f"{block.page}:{block.line}: {block.language} printed {said}, not {block.prints}",
                        file=sys.stderr,
                    )
            ran = sum(block.runs for block in chosen)
            print(
                f"{language}: {len(chosen)} examples, {len(chosen) - ran} of them compiled only, "
                f"{time.monotonic() - start:.0f} s"
            )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    asked = sys.argv[1:] or list(LANGUAGES)
    if unknown := set(asked) - set(LANGUAGES):
        sys.exit(f"unknown: {', '.join(unknown)}; there are {', '.join(LANGUAGES)}")
    main(asked)
