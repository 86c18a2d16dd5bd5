#!/usr/bin/env python3
"""Makes docs/servers.md of what tests/servers has found, a file for each server: `servers.py FILE ...`.

`scripts/test --servers all` runs the tests and this.
"""

import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "servers.md"

HEAD = """\
# What each server does

<!-- Made by `scripts/test --servers all`; see docs/tools/servers.py. -->

Each row is a test that has run on a real server of that version, in that setting, and has found what stands there. A
number in brackets leads to a note below: what a caller gets where a server lacks something, which is tested as well.
[What is supported](supported.md) says what else.
"""


def read(path):
    """A server's name and version, and its lines: setting, feature, word, why."""
    first, *lines = Path(path).read_text().splitlines()
    _, name, version = first.split("\t")
    return name, version, [line.split("\t") for line in lines]


def main():
    reports = [read(path) for path in sys.argv[1:]]
    settings, found, notes = {}, {}, []
    for name, _, lines in reports:
        for setting, feature, word, why in lines:
            features = settings.setdefault(setting, [])
            if feature not in features:
                features.append(feature)
            if word not in ("yes", "no"):
                sys.exit(f"{name}: {setting}: {feature}: {word} {why}")
            if why and why not in notes:
                notes.append(why)
            found[name, setting, feature] = f"{word} ({notes.index(why) + 1})" if why else word
    page = [HEAD]
    for setting, features in settings.items():
        page.append(f"## {setting}\n")
        heads = [f"{name.split('-')[0].capitalize()} {version}" for name, version, _ in reports]
        page.append("| " + " | ".join(["Feature", *heads]) + " |")
        page.append("|---" * (1 + len(heads)) + "|")
        for feature in features:
            # A server that was not asked is an error.
            cells = [found[name, setting, feature] for name, _, _ in reports]
            page.append("| " + " | ".join([feature, *cells]) + " |")
        page.append("")
    page.append("## Notes\n")
    page += [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    PAGE.write_text("\n".join(page) + "\n")
    print(f"docs/servers.md: {len(found)} results of {len(reports)} servers")


main()
