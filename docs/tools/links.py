#!/usr/bin/env python3
"""Checks the repository's Markdown: each link leads to a file or heading that exists, no line is above 120 columns.

Sphinx checks the pages of the site; here they are as the repository shows them, with all that is not in the site.
Links to other machines are not followed. `links.py [ROOT]`.
"""

import re
import subprocess
import sys
from pathlib import Path

WIDTH = 120
REPOSITORY = re.compile(r"https://github\.com/rs-script/rs_script/(?:blob|tree)/main/(.*)")


def prose(text):
    """The lines that are no code, with their numbers."""
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*(```+)", line)
        if fence is None and mark:
            fence = mark[1]
        elif fence is not None:
            if line.strip() == fence:
                fence = None
        else:
            yield number, line


def anchors(text):
    """What headings are called in links: as GitHub does it, and MyST."""
    found = set()
    for _, line in prose(text):
        if heading := re.match(r"#+ (.*)", line):
            title = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "").strip().lower()
            slug = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
            name, again = slug, 0
            while name in found:
                again += 1
                name = f"{slug}-{again}"
            found.add(name)
    return found


def check(root):
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"],
        cwd=root,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    failed = []
    for name in listed.stdout.split():
        path = root / name
        if not path.exists():
            continue
        text = path.read_text()
        for number, line in enumerate(text.splitlines(), 1):
            # The reference has the header's structures as they are.
            if len(line) > WIDTH and not name.startswith("docs/reference/"):
                failed.append(f"{name}:{number}: {len(line)} columns; {WIDTH} are the limit")
        # A link may go over the end of a line.
        lines = dict(prose(text))
        joined = "\n".join(re.sub(r"`[^`]*`", "", lines.get(at, "")) for at in range(1, len(text.splitlines()) + 1))
        for link in re.finditer(r"\]\(([^)\s]+)\)", joined):
            target, number = link[1], joined.count("\n", 0, link.start()) + 1
            if own := REPOSITORY.fullmatch(target):
                base, target = root, own[1]
            elif re.match(r"[a-z]+:", target):
                continue
            else:
                base = path.parent
            file, _, anchor = target.partition("#")
            leads = (base / file).resolve() if file else path
            if not leads.exists():
                failed.append(f"{name}:{number}: {target} does not exist")
            elif anchor and leads.suffix == ".md" and anchor not in anchors(leads.read_text()):
                failed.append(f"{name}:{number}: {target}: there is no such heading")
    return failed


if __name__ == "__main__":
    found = check(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2])
    print("\n".join(found), end="\n" if found else "", file=sys.stderr)
    sys.exit(1 if found else 0)
