"""How Sphinx builds the site; scripts/docs runs it."""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

project = "rs_script"
copyright = "the rs_script authors"
release = re.search(r'#define RS_VERSION "(.*?)"', (ROOT / "include/rs_script.h").read_text())[1]
version = release

extensions = ["myst_parser", "sphinx_design"]
exclude_patterns = ["tools"]
# Tabs are written with colons, so that the code in them is an ordinary fenced block for whoever reads the source.
myst_enable_extensions = ["colon_fence"]
# A link to a heading that does not exist is a warning, and scripts/docs has warnings end the build.
myst_heading_anchors = 4
nitpicky = True

REPOSITORY = "https://github.com/rs-script/rs_script"

html_theme = "furo"
html_title = f"rs_script {release}"
html_show_sphinx = False
html_copy_source = False

# Pages whose text stands elsewhere in the repository, where people look for it.
PAGES = {
    "go": "bindings/go/README.md",
    "node": "bindings/node/README.md",
    "changelog": "CHANGELOG.md",
    "security": "SECURITY.md",
}


def read(app, docname, source):
    """Takes the text of such a page from there, and has links to it lead to the page."""
    folder = ROOT / "docs" / Path(docname).parent
    text = source[0]

    def link(match, base):
        target, anchor = match[1], match[2] or ""
        path = Path(os.path.normpath(base / target))
        page = next((page for page, file in PAGES.items() if path == ROOT / file), None)
        if page:
            path = ROOT / "docs" / f"{page}.md"
        # A folder has no page: it is shown where the repository is.
        if path.is_dir():
            return f"]({REPOSITORY}/tree/main/{path.relative_to(ROOT)})"
        return f"]({os.path.relpath(path, folder)}{anchor})"

    base = folder
    if docname in PAGES:
        file = ROOT / PAGES[docname]
        base, text = file.parent, file.read_text()
    source[0] = re.sub(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)]*)?\)", lambda match: link(match, base), text)


def setup(app):
    app.connect("source-read", read)
