"""L6: a drawing of rectangles and lines of text, written as SVG, as one HTML file, or (with Pillow) as PNG.

Colours are "#rrggbb". All three look the same, but for the font: SVG and HTML take the reader's sans-serif, so room is kept for a
wide one. Hovering over a rectangle with a `title` shows it, where there is a pointer.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape

from mempools.check.svg import document, element

INK, PAPER, DIM, EDGE = "#1f2328", "#ffffff", "#57606a", "#8c959f"
CHAR = 0.6  # width of a character, as a part of the size: no usual font is wider on average
STYLE = ".mp-map text{font-family:system-ui,'Segoe UI','DejaVu Sans',Helvetica,Arial,sans-serif;white-space:pre}"
HATCH = 6  # distance of the lines of a hatching


class ExtraMissing(ValueError):
    """A library is needed that an extra brings."""


@dataclass(frozen=True)
class Rect:
    x: float
    y: float
    width: float
    height: float
    fill: str
    title: str = ""
    hatch: str = ""  # colour of slanted lines over it
    edge: str = ""  # colour of its border


@dataclass(frozen=True)
class Text:
    x: float
    y: float  # of the base line
    text: str
    size: float = 13
    fill: str = INK
    bold: bool = False
    end: bool = False  # x is where it ends

    @property
    def width(self) -> float:
        return len(self.text) * self.size * CHAR


@dataclass
class Drawing:
    width: int
    height: float
    title: str
    parts: list[Rect | Text] = field(default_factory=list)

    def svg(self) -> str:
        """The SVG document."""
        parts = [*self._hatchings(), *map(_part, self.parts)]
        fit = "display:block;margin:auto;max-width:100%;height:auto"
        return document(self.width, round(self.height), self.title, parts, names="mp-map", style=STYLE, fit=fit)

    def html(self) -> str:
        """One page that needs nothing else."""
        title = escape(self.title)
        return (
            f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
            "<style>body{margin:0;background:#fff}</style>\n"
            f"{self.svg()}</html>\n"
        )

    def png(self) -> bytes:
        """The picture, as large as it says. ExtraMissing without Pillow."""
        try:
            from PIL import Image, ImageDraw, ImageFont
        except ImportError:
            raise ExtraMissing("PNG needs Pillow: pip install 'mempools[png]'; SVG and HTML need nothing") from None
        image = Image.new("RGB", (self.width, round(self.height)), PAPER)
        canvas = ImageDraw.Draw(image)
        for part in self.parts:
            if isinstance(part, Text):
                font = ImageFont.load_default(part.size)
                anchor = "rs" if part.end else "ls"
                canvas.text((part.x, part.y), part.text, part.fill, font, anchor, stroke_width=0.4 if part.bold else 0)
                continue
            # Both ends rounded by themselves, so that neighbours neither overlap nor leave a gap.
            left, top = round(part.x), round(part.y)
            right, bottom = max(round(part.x + part.width), left + 1), max(round(part.y + part.height), top + 1)
            tile = Image.new("RGB", (right - left, bottom - top), part.fill)
            if part.hatch:
                lines = ImageDraw.Draw(tile)
                for at in range(-(left + top) % HATCH, tile.width + tile.height, HATCH):  # of one pattern everywhere
                    lines.line((at, 0, at - tile.height, tile.height), part.hatch, 2)
            image.paste(tile, (left, top))
            if part.edge:
                canvas.rectangle((left, top, right - 1, bottom - 1), outline=part.edge)
        file = io.BytesIO()
        image.save(file, "PNG", optimize=True)
        return file.getvalue()

    def _hatchings(self) -> Iterator[str]:
        for name in sorted({part.hatch for part in self.parts if isinstance(part, Rect) and part.hatch}):
            yield (
                f'<defs><pattern id="hatch-{name[1:]}" width="{HATCH}" height="{HATCH}" patternUnits="userSpaceOnUse">'
                f'<path d="M-1 1l2 -2M0 {HATCH}L{HATCH} 0M{HATCH - 1} {HATCH + 1}l2 -2" stroke="{name}" stroke-width="1.6"/>'
                "</pattern></defs>"
            )


def _part(part: Rect | Text) -> str:
    if isinstance(part, Text):
        end = ' text-anchor="end"' if part.end else ""
        bold = ' font-weight="600"' if part.bold else ""
        return element(
            "text",
            f'x="{part.x:g}" y="{part.y:g}" font-size="{part.size:g}" fill="{part.fill}"{end}{bold}',
            escape(part.text, quote=False),
        )
    place = f'x="{part.x:g}" y="{part.y:g}" width="{part.width:g}" height="{part.height:g}"'
    edge = f' stroke="{part.edge}"' if part.edge else ""
    title = f"<title>{escape(part.title, quote=False)}</title>" if part.title else ""
    if not part.hatch:
        return element("rect", f'{place} fill="{part.fill}"{edge}', title)
    return element("rect", f'{place} fill="{part.fill}"') + element(
        "rect", f'{place} fill="url(#hatch-{part.hatch[1:]})"{edge}', title
    )


def fitting(text: str, size: float, width: float) -> str:
    """The text, or what of it fits, with an ellipsis."""
    return shortened(text, int(width / (size * CHAR)))


def shortened(text: str, nr: int) -> str:
    """The text in at most `nr` characters, with an ellipsis where some are left out."""
    return text if len(text) <= nr else text[: max(nr - 1, 0)] + "…"
