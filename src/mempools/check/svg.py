"""A failing execution as one SVG file: lanes, a box for each step, arrows for what a read saw.

It needs nothing around it, has a transparent background, and takes its text colour from the page that it stands in; on its
own, from what the reader prefers, light or dark. The text can be selected and searched.
"""

import itertools
from collections.abc import Iterator, Mapping
from html import escape

from mempools.check import diagram as geometry
from mempools.check import reasons, wording
from mempools.check.diagram import (
    CHIP,
    GAP,
    GUTTER,
    LINE,
    ORDER,
    PADDING,
    READS,
    SMALL_LINE,
    STALE,
    WAITS,
    Box,
    Diagram,
    Edge,
)
from mempools.check.terminal import Line, Terminal
from mempools.check.trace import Kind, Trace

MIN_WIDTH = 620
FITS = 800  # no wider: it may shrink with the page; a wider one would become too small to read
ROUND = 5  # radius of a corner
ARROW = 7

# The names of CSS classes begin with mp-, so that nothing of a page that holds the drawing is touched. Furo, the theme of our
# pages, says in data-theme what its reader chose.
_STYLE = """
.mp-trace{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
--mp-bad:#c0262d;--mp-odd:#c0262d;--mp-off:#8250df;--mp-site:#0b6bbd}
.mp-trace:root{color:#1f2328;color-scheme:light dark}
@media (prefers-color-scheme:dark){
.mp-trace{--mp-bad:#ff7b72;--mp-odd:#ff7b72;--mp-off:#c297ff;--mp-site:#6cb6ff}
.mp-trace:root{color:#dfe5ec}}
body[data-theme=light] .mp-trace{--mp-bad:#c0262d;--mp-odd:#c0262d;--mp-off:#8250df;--mp-site:#0b6bbd}
body[data-theme=dark] .mp-trace{--mp-bad:#ff7b72;--mp-odd:#ff7b72;--mp-off:#c297ff;--mp-site:#6cb6ff}
.mp-trace text{fill:currentColor;white-space:pre}
.mp-trace .mp-small{font-size:10.5px}
.mp-trace .mp-title{font-size:15px;font-weight:600}
.mp-trace .mp-bold{font-weight:600}
.mp-trace .mp-dim{opacity:.65}
.mp-trace .mp-site{fill:var(--mp-site)}
.mp-trace .mp-bad,.mp-trace .mp-odd{fill:var(--mp-bad)}
.mp-trace text.mp-bad,.mp-trace tspan.mp-bad{font-weight:600}
.mp-trace .mp-off{fill:var(--mp-off)}
.mp-trace .mp-gone{text-decoration:line-through}
.mp-trace .mp-box{fill:currentColor;fill-opacity:.05;stroke:currentColor;stroke-opacity:.4}
.mp-trace .mp-fence{fill-opacity:.16}
.mp-trace .mp-box-bad{stroke:var(--mp-bad);stroke-opacity:1;stroke-width:2;fill:var(--mp-bad);fill-opacity:.1}
.mp-trace .mp-box-odd{stroke:var(--mp-odd);stroke-opacity:1}
.mp-trace .mp-box-off{stroke:var(--mp-off);stroke-opacity:1;stroke-dasharray:5 3}
.mp-trace .mp-lane{stroke:currentColor;stroke-opacity:.25;stroke-width:1.5}
.mp-trace .mp-stuck{stroke-dasharray:2 5;stroke:var(--mp-bad);stroke-opacity:.8}
.mp-trace .mp-edge{fill:none;stroke:currentColor;stroke-opacity:.75;stroke-width:1.4}
.mp-trace .mp-edge-stale{stroke:var(--mp-odd);stroke-opacity:1;stroke-width:2}
.mp-trace .mp-edge-order{stroke-dasharray:5 4;stroke-opacity:.6}
.mp-trace .mp-edge-waits{stroke:var(--mp-bad);stroke-opacity:1;stroke-dasharray:2 4;stroke-width:2}
.mp-trace .mp-head{fill:currentColor;fill-opacity:.75}
.mp-trace .mp-head-stale,.mp-trace .mp-head-waits{fill:var(--mp-odd);fill-opacity:1}
""".replace("\n", "")

_LEGEND = {
    READS: "reads from",
    STALE: "reads an old value",
    ORDER: "is overwritten by (coherence order)",
    WAITS: "waits for whoever did this",
}


def draw(trace: Trace, *, fold: bool = True) -> str:
    """The SVG document. `fold` leaves out the steps that do not matter, and says so."""
    folded = reasons.foldable(trace) if fold else {}
    diagram = geometry.lay_out(trace, folded)
    diagram.width = max(diagram.width, MIN_WIDTH)
    head = list(_head(diagram, folded))
    _shift(diagram, head[-1][0] + GAP)
    parts = [text for _, text in head]
    parts += [*_lanes(diagram), *map(_edge, diagram.edges), *_legend(diagram)]
    parts += [text for box in (*diagram.chips, *diagram.boxes) for text in _box(diagram, box)]
    foot = list(_foot(diagram, folded))
    parts += [text for _, text in foot]
    width, height = round(diagram.width), round(foot[-1][0] + 12)
    fit = "max-width:100%;height:auto" if width <= FITS else ""
    return document(width, height, wording.title(trace), parts, names="mp-trace", style=_STYLE, fit=fit)


def document(
    width: int, height: int, title: str, parts: list[str], *, names: str = "", style: str = "", fit: str = ""
) -> str:
    """An SVG document of these elements, of CSS classes `names`, with a style sheet and a style of its own."""
    own = f' class="{names}"' if names else ""
    fits = f' style="{fit}"' if fit else ""
    sheet = f"<style>{style}</style>" if style else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg"{own} role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"{fits}>'
        f"<title>{escape(title)}</title>{sheet}\n" + "\n".join(parts) + "\n</svg>\n"
    )


def element(name: str, attributes: str, content: str = "") -> str:
    """An element whose content is escaped."""
    return f"<{name} {attributes}>{content}</{name}>" if content else f"<{name} {attributes}/>"


def _class(*names: str) -> str:
    words = " ".join(f"mp-{name}" for name in names if name)
    return f' class="{words}"' if words else ""


def _text(x: float, y: float, text: str, *classes: str) -> str:
    return element("text", f'x="{x:g}" y="{y:g}"{_class(*classes)}', escape(text, quote=False))


def _spans(x: float, y: float, phrases: Line, *classes: str) -> str:
    """One line in several styles."""
    if len(phrases) == 1:
        return _text(x, y, phrases[0][0], phrases[0][1], *classes)
    spans = "".join(f"<tspan{_class(style)}>{escape(text, quote=False)}</tspan>" for text, style in phrases)
    return element("text", f'x="{x:g}" y="{y:g}"{_class(*classes)}', spans)


def _wrapped(diagram: Diagram, text: str, indent: float = 0) -> list[str]:
    width = int((diagram.width - GUTTER - indent - 8) / geometry.CHAR)
    return ["".join(part for part, _ in line) for line in Terminal().wrap([(text, "")], width)]


def _head(diagram: Diagram, folded: Mapping[int, str]) -> Iterator[tuple[float, str]]:
    """What stands above the lanes, each with its y."""
    trace, y = diagram.trace, 20.0
    yield y, _text(8, y, f"FAIL {trace.scenario}" if trace.violation else trace.scenario, "title")
    if trace.mutation:
        y += LINE + 2
        yield y, _text(8, y, f"with the mutation {trace.mutation}", "off")
    initial = wording.initially(trace, folded)
    for line in _wrapped(diagram, "initially " + ", ".join(initial)) if initial else []:
        y += LINE + 2
        yield y, _text(8, y, line, "dim")


def _shift(diagram: Diagram, y: float) -> None:
    """Puts the initial values at y, the boxes below them and the lanes' names."""
    if diagram.chips:
        for chip in diagram.chips:
            chip.y = y
        y += CHIP + 6 * len([edge for edge in diagram.edges if edge.source.lane < 0]) + GAP
    diagram.top = y + LINE + GAP
    for box in diagram.boxes:
        box.y += diagram.top
    diagram.height += diagram.top
    nr = 0
    for edge in diagram.edges:
        edge.path = [(x, at + diagram.top) for x, at in edge.path]
        if edge.source.lane < 0:
            nr += 1
            turn = edge.source.bottom + 6 * nr
            (x, _), (track, _), *rest = edge.path
            edge.path = [(x, edge.source.bottom), (x, turn), (track, turn), *rest]


def _lanes(diagram: Diagram) -> Iterator[str]:
    yield _text(8, diagram.top - GAP, "step", "small", "dim")
    for cpu, (x, width) in enumerate(zip(diagram.lane_x, diagram.lane_width, strict=True)):
        middle = x + width / 2
        yield _text(x, diagram.top - GAP, wording.cpu_name(diagram.trace, cpu), "bold")
        own = [box for box in diagram.boxes if box.lane == cpu]
        line = "".join(f"M{middle:g} {a.bottom:g}V{b.y:g}" for a, b in itertools.pairwise(own))
        if line:
            yield f'<path class="mp-lane" d="{line}"/>'
        last = own[-1].step if own else None
        if last is not None and last.blocked and own[-1] is not diagram.boxes[-1]:
            yield f'<path class="mp-lane mp-stuck" d="M{middle:g} {own[-1].bottom:g}V{diagram.height - GAP:g}"/>'


def _box(diagram: Diagram, box: Box) -> Iterator[str]:
    step, style = box.step, geometry.frame(box, diagram.trace)
    fence = step is not None and step.kind is Kind.FENCE and not step.skipped
    names = ["mp-box", *(["mp-fence"] if fence else []), *([f"mp-box-{style}"] if style != wording.DIM else [])]
    radius = CHIP / 2 if step is None else ROUND
    if step is not None:
        yield _text(8, box.y + PADDING + 10, f"#{step.index}", "dim")
    yield (
        f'<rect class="{" ".join(names)}" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" '
        f'rx="{radius:g}"/>'
    )
    y = box.y + (PADDING + 9 if step is not None else CHIP / 2 + 4)
    for nr, text in enumerate(box.lines):
        gone = "gone" if nr == 0 and step is not None and step.skipped else ""
        yield _spans(box.x + PADDING, y, text.phrases, "small" if text.small else "", gone)
        y += SMALL_LINE if nr + 1 < len(box.lines) and box.lines[nr + 1].small else LINE


def _edge(edge: Edge) -> str:
    """A line with round corners, and its head."""
    points = edge.path
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (x1, y1), (x2, y2) = _toward(corner, before), _toward(corner, after)
        path += f"L{x1:g} {y1:g}Q{corner[0]:g} {corner[1]:g} {x2:g} {y2:g}"
    (x0, _), (x, y) = points[-2:]
    back = ARROW if x > x0 else -ARROW
    path += f"L{x - back / 2:g} {y:g}"
    head = f"M{x:g} {y:g}l{-back:g} -4v8z"
    return f'<path class="mp-edge mp-edge-{edge.meaning}" d="{path}"/><path class="mp-head mp-head-{edge.meaning}" d="{head}"/>'


def _toward(corner: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """A point near a corner on the way to the next one."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    far = abs(dx) + abs(dy)
    step = min(ROUND, far / 2) / far if far else 0
    return round(corner[0] + dx * step, 1), round(corner[1] + dy * step, 1)


def _legend(diagram: Diagram) -> Iterator[str]:
    """What the kinds of arrows mean that occur."""
    present = {edge.meaning for edge in diagram.edges}
    x: float = GUTTER
    for meaning, words in _LEGEND.items():
        if meaning in present:
            y = diagram.height + 4
            yield f'<path class="mp-edge mp-edge-{meaning}" d="M{x:g} {y:g}h26"/>'
            yield f'<path class="mp-head mp-head-{meaning}" d="M{x + 30:g} {y:g}l-7 -4v8z"/>'
            yield _text(x + 36, y + 4, words, "small", "dim")
            x += 36 + (len(words) + 3) * geometry.SMALL_CHAR
    if present:
        diagram.height += LINE


def _foot(diagram: Diagram, folded: Mapping[int, str]) -> Iterator[tuple[float, str]]:
    y = diagram.height + 4
    for paragraph in wording.conclusion(diagram.trace, folded):
        y += LINE + 6
        yield y, _text(8, y, paragraph.heading, "bold", paragraph.style)
        for text in paragraph.lines:
            for line in _wrapped(diagram, text):
                y += LINE
                yield y, _text(GUTTER, y, line, "dim" if paragraph.style == wording.DIM else "")
