#!/usr/bin/env python3
"""Makes docs/reference/ of include/rs_script.h: `reference.py write`, or `reference.py check` where it must be fresh.

The words are the header's. Added are: what is said once for a handle and holds for all its functions, since when each
name is there (docs/reference/since.txt, to which `write` adds new names), and the pages whose examples use it.
"""

import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 118

# The pages, in this order; a prefix that is not here gets a page of its own.
TITLES = {
    "client": "Clients: `rs_client`",
    "script": "Scripts: `rs_script`",
    "library": "Libraries of functions: `rs_library`",
    "pipeline": "Pipelines and transactions: `rs_pipeline`",
    "queue": "Submitted calls: `rs_queue`",
    "reply": "Replies: `rs_reply`",
    "error": "Errors: `rs_error`",
    "options": "Options: `rs_options`",
    "credentials": "Credentials: `rs_credentials_request`",
    "events": "Events for bindings: `rs_events`",
    "version": "Versions",
}
# Functions whose names do not say where they belong.
PAGE_OF = {"rs_status_name": "error", "rs_reason_name": "error", "rs_version_number": "version"}
# Which constants stand together. The first that fits counts.
FAMILIES = [
    ("Statuses", "RS_OK|RS_ERR_"),
    ("Reasons", "RS_REASON_"),
    ("Flags and numbers of a call", "RS_CALL_(?!KIND_|OPTIONS)"),
    ("Routes", "RS_ROUTE_"),
    ("Which servers run read-only calls", "RS_READ_FROM_"),
    ("Flags of a script", "RS_SCRIPT_(?!OPTIONS)"),
    ("Flags of a library", "RS_LIBRARY_(?!OPTIONS)"),
    ("Flags of a pipeline", "RS_PIPELINE_"),
    ("Queues", "RS_QUEUE_|RS_FOREVER"),
    ("Types of replies", "RS_REPLY_"),
    ("Protocols", "RS_PROTOCOL_"),
    ("SCRIPT FLUSH", "RS_FLUSH_"),
    ("Statistics", "RS_STAT_"),
    ("Events", "RS_EVENT_"),
    ("Levels of events", "RS_LOG_LEVEL_"),
    ("Kinds of calls", "RS_CALL_KIND_"),
    ("Packed calls and completions", "RS_PACKED_"),
    ("Macros", "RS_(CALL|SCRIPT|LIBRARY)_OPTIONS|RS_NODISCARD|RS_NOT_NULL|RS_NO_INDEX|\\w+_INIT$"),
    ("Versions", "RS_VERSION"),
]


class Item:
    """A name of the header: its comment, as paragraphs of lines, and its declaration."""

    def __init__(self, name, kind, comment, text, value=""):
        self.name, self.kind, self.text, self.value = name, kind, text, value
        self.paragraphs = [[]]
        for line in comment:
            if line:
                self.paragraphs[-1].append(line)
            else:
                self.paragraphs.append([])
        self.paragraphs = [paragraph for paragraph in self.paragraphs if paragraph]


def declarations(header):
    """The items of a header, and the lines of its opening comment."""
    lines = header.splitlines()
    end = lines.index("")
    prologue = [line[2:].removeprefix(" ") for line in lines[:end]]
    items, comment, at = [], [], end
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith("//"):
            comment.append(line[2:].removeprefix(" "))
            continue
        if define := re.match(r"#define (RS_\w+)(\(.*?\))? ?(.*)", line):
            name, parameters, value = define.groups()
            if name not in ("RS_SCRIPT_H", "RS_SCRIPT_ASSERT") and name not in [item.name for item in items]:
                kind = (
                    "macro"
                    if parameters or not re.fullmatch(r'-?\d+|"[\d.]+"|SIZE_MAX|UINT64_MAX', value)
                    else "constant"
                )
                items.append(Item(name, kind, comment, line, value))
            # Those of one paragraph share its comment.
            if at < len(lines) and lines[at].startswith("#define"):
                continue
        elif line.startswith("#ifndef RS_N") or line.startswith("#ifndef __cplusplus"):
            continue
        elif line.startswith(("#if", "#el", "#end", "#pragma", "#undef", "#include")):
            if "__cplusplus) &&" in line or line.startswith("#el"):
                continue
        elif line.startswith(("extern", "}", "RS_SCRIPT_ASSERT")):
            pass
        elif line:
            text = [line]
            is_struct = line.startswith("typedef struct {")
            while not text[-1].endswith(";") or (is_struct and not text[-1].startswith("}")):
                text.append(lines[at])
                at += 1
            text = "\n".join(text)
            if typedef := re.match(r"typedef struct (\w+) \w+;", text):
                items.append(Item(typedef[1], "handle", comment, text))
            elif text.startswith("typedef"):
                name = re.search(r"\(\*(\w+)\)", text) or re.search(r"(\w+);$", text)
                items.append(Item(name[1], "type", comment, text))
            else:
                name = re.search(r"\b(rs_\w+)\(", text)[1]
                items.append(Item(name, "function", comment, text))
        comment = []
    return prologue, items


class Reference:
    def __init__(self, header, since, examples):
        self.prologue, self.items = declarations(header)
        self.version = re.search(r'#define RS_VERSION "(.*?)"', header)[1]
        self.since, self.examples = since, examples
        for item in self.items:
            self.since.setdefault(item.name, self.version)
        self.places = {}
        prefixes = {}
        for item in self.items:
            if item.kind == "function":
                page = PAGE_OF.get(item.name) or item.name.split("_")[1]
                prefixes.setdefault(page, []).append(item)
                self.places[item.name] = f"{page}.md#{item.name}"
            elif item.kind == "type":
                self.places[item.name] = f"types.md#{item.name}"
            elif item.kind in ("constant", "macro"):
                self.places[item.name] = f"constants.md#{slug(family(item.name))}"
        self.handles = {}
        for item in self.items:
            if item.kind == "handle":
                word = item.name.split("_")[1]
                page = word if word in prefixes else "types"
                self.handles[page] = item
                self.places[item.name] = f"{page}.md#{item.name}"
        order = list(TITLES)
        pages = sorted(prefixes, key=lambda page: order.index(page) if page in order else len(order))
        # What makes a handle comes first, the rest as in the header.
        makers = ("_open", "_new", "_register")
        self.pages = {page: sorted(prefixes[page], key=lambda item: not item.name.endswith(makers)) for page in pages}

    # Every RS_ and rs_ name is code, and leads to where it stands. The rest is as it is, but for what Markdown would
    # take for its own.
    def words(self, text, page):
        parts = re.split(r"(`[^`]*`|<https?://[^>]*>)", text)
        return "".join(part if part[:1] in "`<" and part[1:] else self.plain(part, page) for part in parts)

    def plain(self, text, page):
        def name(match):
            word = match[0]
            place = self.places.get(word)
            if not place:
                return f"`{word}`"
            file, anchor = place.split("#")
            return f"[`{word}`]({'' if file == page + '.md' else file}#{anchor})"

        pieces = re.split(r"(\b(?:rs|RS)_\w+)", text)
        for at, piece in enumerate(pieces):
            if at % 2:
                pieces[at] = name(re.match(r".*", piece))
            else:
                pieces[at] = re.sub(r"[*\[\]]|(?<!\w)_|_(?!\w)", r"\\\g<0>", piece)
        return "".join(pieces)

    def paragraph(self, lines, page):
        if all(line.startswith("  ") for line in lines):
            return "```text\n" + "\n".join(line.removeprefix("  ") for line in lines) + "\n```"
        blocks = []
        for line in lines:
            if line.startswith("- ") or not blocks:
                blocks.append([line])
            else:
                blocks[-1].append(line.strip())
        return "\n".join(self.wrapped(" ".join(block), page) for block in blocks)

    def wrapped(self, text, page, indent=""):
        bullet = "- " if text.startswith("- ") else ""
        return fill(self.words(text.removeprefix(bullet), page), indent + bullet, indent + "  " * bool(bullet))

    # What a comment says under "Errors:" and "Threads:", and the rest of it.
    def facts(self, item):
        rest, facts = [], {}
        for lines in item.paragraphs:
            if any(line.startswith(("  ", "- ")) for line in lines):
                rest.append(lines)
                continue
            text = " ".join(lines)
            for fact in ("Threads", "Errors"):
                if found := re.search(rf"(?:^|(?<=[.;:] ))(?:{fact}): (.*)$", text):
                    said = found[1].strip()
                    # Of the errors the sentences that come behind them are part, up to the next fact.
                    facts[fact] = said
                    text = text[: found.start()].strip()
            if text:
                rest.append([text])
        return rest, facts

    def comment(self, item, page):
        return "\n\n".join(self.paragraph(lines, page) for lines in item.paragraphs)

    def entry(self, item, page):
        rest, facts = self.facts(item)
        signature = item.text.removeprefix("RS_NODISCARD").strip()
        signature = re.sub(r"\n? *RS_NOT_NULL\((\w+)\)", "", signature)
        must = re.findall(r"RS_NOT_NULL\((\w+)\)", item.text)
        parts = [f"## {item.name}", f"```c\n{signature}\n```"]
        parts += [self.paragraph(lines, page) for lines in rest]
        handle = self.handles.get(page)
        of_all = f"as [`{handle.name}`](#{handle.name}) says" if handle else "as its words say"
        bullets = []
        if must:
            bullets.append("Must not be NULL: " + ", ".join(f"`{name}`" for name in must))
        for fact in ("Errors", "Threads"):
            bullets.append(f"{fact}: " + (self.words(facts[fact], page) if fact in facts else of_all))
        bullets.append(f"Since: {self.since[item.name]}")
        if pages := self.examples.get(item.name):
            bullets.append("Examples: " + ", ".join(f"[{title}]({place})" for title, place in pages[:4]))
        parts.append("\n".join(fill(bullet, "- ", "  ") for bullet in bullets))
        return "\n\n".join(parts)

    def files(self):
        made = {}
        for page, functions in self.pages.items():
            parts = [MADE, f"# {TITLES.get(page, page.capitalize())}"]
            if handle := self.handles.get(page):
                parts += [f"## {handle.name}", self.comment(handle, page), f"- Since: {self.since[handle.name]}"]
            parts += [self.entry(item, page) for item in functions]
            made[f"{page}.md"] = parts
        parts = [MADE, "# Structures and callbacks"]
        for item in self.items:
            if item.kind == "type" or self.places[item.name].startswith("types.md#") and item.kind == "handle":
                parts += [f"## {item.name}", self.comment(item, "types")]
                parts += [f"```c\n{item.text}\n```", f"- Since: {self.since[item.name]}"]
        made["types.md"] = parts
        made["constants.md"] = self.constants()
        made["index.md"] = self.index()
        made["since.txt"] = ["\n".join(f"{name} {self.since[name]}" for name in sorted(i.name for i in self.items))]
        return {name: "\n\n".join(part for part in parts if part) + "\n" for name, parts in made.items()}

    def constants(self):
        parts = [MADE, "# Constants and macros"]
        families = [title for title, _ in FAMILIES]
        used = {}
        for item in self.items:
            if item.kind in ("constant", "macro"):
                used.setdefault(family(item.name), []).append(item)
        for title in sorted(used, key=lambda title: families.index(title) if title in families else len(families)):
            bullets = []
            for item in used[title]:
                text = " ".join(" ".join(lines) for lines in item.paragraphs)
                head = f"`{item.name}`" + (f" = {item.value}" if item.kind == "constant" else "")
                since = "" if self.since[item.name] == "0.1.0" else f" Since {self.since[item.name]}."
                said = ": " + self.words(text, "constants") if text else ""
                bullets.append(fill(head + said + since, "- ", "  "))
            parts += [f"## {title}", "\n".join(bullets)]
        return parts

    def index(self):
        titles = "\n".join(f"{page}" for page in [*self.pages, "types", "constants"])
        conventions, example, inside = [], [], None
        for line in self.prologue:
            if head := re.match(r"([A-Z]{4,})(?: {2,}| )(?=\S)(.*)", line):
                inside = head[1]
                conventions.append((inside, [head[2]]))
            elif inside == "EXAMPLE":
                example.append(line.removeprefix("    "))
            elif inside and line.strip():
                conventions[-1][1].append(line.strip())
        text = []
        for word, lines in conventions:
            if word in ("INSTALL", "LINK", "EXAMPLE"):
                continue
            text.append(fill(f"**{word.capitalize()}** " + self.words(" ".join(lines), "index"), "- ", "  "))
        names = []
        for page, functions in self.pages.items():
            handle = self.handles.get(page)
            links = ", ".join(f"[`{item.name}`]({self.places[item.name]})" for item in functions)
            names.append(fill(f"[{(handle.name if handle else page)}]({page}.md): {links}", "- ", "  "))
        return [
            MADE,
            "# The C API",
            fill(
                "Every function, type and constant of `rs_script.h`, in the header's own words. The guide says how "
                "they belong together; C++, Rust, Go and Node have their own documentation (see "
                "[Languages](../supported.md#languages)).",
                "",
                "",
            ),
            "```{toctree}\n:hidden:\n\n" + titles + "\n```",
            "## What holds for all of them",
            "\n".join(text),
            "## All functions",
            "\n".join(names),
            fill("[Structures and callbacks](types.md). [Constants and macros](constants.md).", "", ""),
        ]


MADE = "<!-- Made from include/rs_script.h by `scripts/docs reference`; do not edit. -->"


def family(name):
    for title, pattern in FAMILIES:
        if re.match(pattern, name):
            return title
    return "_".join(name.split("_")[:2]) + "_"


def slug(title):
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def fill(text, first, other):
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=other, break_long_words=False, break_on_hyphens=False
    )


def examples_of(docs):
    """For each function of the C API the pages and programs that call it: the link's text and where it leads."""
    found = {}

    def calls(code, title, place):
        for name in sorted(set(re.findall(r"\b(rs_\w+)\(", code))):
            found.setdefault(name, []).append((title, place))

    for page in sorted(docs.glob("*.md")):
        text = page.read_text()
        title = re.search(r"^# (.*)", text, re.M)[1]
        calls("".join(re.findall(r"^```c\n(.*?)^```", text, re.M | re.S)), title, f"../{page.name}")
    for program in sorted((ROOT / "examples/c").glob("*.c")):
        calls(program.read_text(), f"`{program.name}`", f"../../examples/c/{program.name}")
    return found


def main(header, docs, mode):
    folder = docs / "reference"
    recorded = folder / "since.txt"
    since = dict(line.split() for line in recorded.read_text().splitlines()) if recorded.exists() else {}
    files = Reference(header.read_text(), since, examples_of(docs)).files()
    old = {path.name: path.read_text() for path in folder.iterdir()} if folder.exists() else {}
    if mode == "write":
        folder.mkdir(exist_ok=True)
        for name in old.keys() - files.keys():
            (folder / name).unlink()
        for name, text in files.items():
            (folder / name).write_text(text)
        return 0
    stale = sorted(name for name in files.keys() | old.keys() if files.get(name) != old.get(name))
    for name in stale:
        print(f"docs/reference/{name} is stale; renew it with: scripts/docs reference", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    if len(sys.argv) not in (2, 4) or sys.argv[1] not in ("write", "check"):
        sys.exit("usage: reference.py write|check [HEADER DOCS]")
    paths = [Path(path) for path in sys.argv[2:]] or [ROOT / "include/rs_script.h", ROOT / "docs"]
    sys.exit(main(*paths, sys.argv[1]))
