"""How Sphinx builds the site; scripts/docs runs it."""

import re
from pathlib import Path

project = "rs_script"
copyright = "the rs_script authors"
release = re.search(
    r'#define RS_VERSION "(.*?)"', (Path(__file__).parent.parent / "include/rs_script.h").read_text()
)[1]
version = release

extensions = ["myst_parser", "sphinx_design"]
exclude_patterns = ["tools"]
# Tabs are written with colons, so that the code in them is an ordinary fenced block for whoever reads the source.
myst_enable_extensions = ["colon_fence"]
# A link to a heading that does not exist is a warning, and scripts/docs has warnings end the build.
myst_heading_anchors = 4
nitpicky = True

html_theme = "furo"
html_title = f"rs_script {release}"
html_show_sphinx = False
html_copy_source = False
