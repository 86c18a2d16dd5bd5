#!/usr/bin/env python3
"""Re-wraps the paragraphs and list items of Markdown that have a line above 120 columns: `wrap.py FILE ...`.

Code, tables, headings and comments stay as they are; links.py tells of those that are too long.
"""

import re
import sys
import textwrap
from pathlib import Path

WIDTH = 118
LIMIT = 120
MARKER = re.compile(r"(\s*)([-*+] |\d+\. )?")


def wrapped(paragraph):
    indent, marker = MARKER.match(paragraph[0]).groups(default="")
    text = " ".join([paragraph[0][len(indent + marker) :].strip(), *(line.strip() for line in paragraph[1:])])
    other = indent + " " * len(marker)
    # Code and the words of a link are not taken apart where they fit on a line.
    text = re.sub(r"`[^`]{1,90}`|\[[^]]{1,60}\](?=\()", lambda piece: piece[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent + marker,
        subsequent_indent=other,
        break_long_words=False,
        break_on_hyphens=False,
    )
    lines = [line.replace("\0", " ") for line in lines]
    for at in range(1, len(lines)):
        # A line must not begin with what Markdown takes for the beginning of something.
        if re.match(r"\s*([-+*>#]|\d+[.)])\s", lines[at]):
            lines[at - 1], _, last = lines[at - 1].rpartition(" ")
            lines[at] = f"{other}{last} {lines[at].strip()}"
    return lines


def wrap(text):
    made, paragraph, fence = [], [], None

    def end():
        made.extend(wrapped(paragraph) if any(len(line) > LIMIT for line in paragraph) else paragraph)
        paragraph.clear()

    for line in text.splitlines():
        mark = re.match(r"\s*(```+)", line)
        if fence is not None:
            made.append(line)
            fence = None if line.strip() == fence else fence
        elif mark:
            end()
            made.append(line)
            fence = mark[1]
        elif re.match(r"\s*(#|\||:::|:sync|<!--|$)", line) or (line.startswith("    ") and not paragraph):
            end()
            made.append(line)
        else:
            if re.match(r"\s*([-*+]|\d+\.) ", line):
                end()
            paragraph.append(line)
    end()
    return "\n".join(made) + "\n"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(wrap(Path(name).read_text()))
