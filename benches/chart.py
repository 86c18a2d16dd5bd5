"""Bar charts as SVG: text stays text, and they are read on a light and on a dark ground alike."""

from xml.sax.saxutils import escape

from figures import is_ours

WIDTH = 760
MARGIN = 16
# Where bars begin, and how long the longest is; what is right of that belongs to the figures.
LEFT, LONGEST = 250, 370
ROW, BAR = 22, 14
TITLE, GAP = 24, 14

STYLE = """
    .ground { fill: #ffffff; }
    text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
    .title { font-weight: 600; }
    .unit { fill: #59636e; }
    .ours { fill: #1a6fc4; }
    .form { fill: #8fbce6; }
    .theirs { fill: #9aa4ae; }
    .spread { stroke: #1f2328; stroke-width: 1.5; }
    @media (prefers-color-scheme: dark) {
        .ground { fill: #131416; }
        text { fill: #e6e8ea; }
        .unit { fill: #a5adb5; }
        .ours { fill: #4c9bea; }
        .form { fill: #2f6298; }
        .theirs { fill: #6a737c; }
        .spread { stroke: #e6e8ea; }
    }
"""


def text(x, y, content, kind="", anchor="start"):
    shown = f' class="{kind}"' if kind else ""
    return f'  <text x="{x}" y="{y:.0f}"{shown} text-anchor="{anchor}">{content}</text>'


def bars(top, comparison, show):
    """A bar for each client, as long as its median, with a line over the middle half of its rounds."""
    series = (comparison.ours, *comparison.others)
    most = max(max(one.quartiles[1], one.median) for one in series) or 1
    for row, one in enumerate(series):
        y = top + row * ROW
        middle, length = y + BAR / 2, LONGEST * one.median / most
        low, high = (LEFT + LONGEST * quartile / most for quartile in one.quartiles)
        yield text(LEFT - 8, y + BAR - 2, escape(one.client), anchor="end")
        # Other forms of ours are neither what is compared nor a peer.
        kind = "ours" if one is comparison.ours else "form" if is_ours(one.client) else "theirs"
        yield f'  <rect x="{LEFT}" y="{y:.0f}" width="{length:.1f}" height="{BAR}" rx="2" class="{kind}"/>'
        if high - low >= 1:
            yield f'  <path d="M{low:.1f} {middle:.1f}H{high:.1f}" class="spread"/>'
        yield text(f"{LEFT + max(length, high - LEFT) + 8:.0f}", y + BAR - 2, escape(show(one.median)))


def svg(title, charts, unit, show):
    """`charts`: pairs of a scenario's name and a comparison; `unit` says what is measured, `show` writes a figure."""
    lines, y = [], MARGIN
    for name, comparison in charts:
        unit_text = f'<tspan class="unit" font-weight="400" dx="8">{escape(unit(comparison.metric))}</tspan>'
        lines.append(text(MARGIN, y + 13, escape(name) + unit_text, "title"))
        lines += bars(y + TITLE, comparison, show)
        y += TITLE + ROW * (1 + len(comparison.others)) + GAP
    height = y - GAP + MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">'
    ground = f'  <rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>'
    about = [f"  <title>{escape(title)}</title>", f"  <style>{STYLE}  </style>", ground]
    return "\n".join([head, *about, *lines, "</svg>", ""])
