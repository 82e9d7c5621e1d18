"""A terminal as something to draw on: its width, whether it shows colours and more than ASCII; and wrapping styled text."""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from mempools.check import wording
from mempools.check.wording import Phrase

_COLORS = {
    wording.DIM: "2",
    wording.BOLD: "1",
    wording.GOOD: "32",
    wording.SITE: "36",
    wording.BAD: "1;31",
    wording.ODD: "31",
    wording.OFF: "35",
}
_ASCII = str.maketrans({"→": "->", "│": "|", "┊": ":", "●": "*", "○": "o", "✗": "x", "─": "-", "…": "~", "█": "#"})

Line = list[Phrase]


@dataclass(frozen=True, slots=True)
class Terminal:
    width: int = 80
    color: bool = False
    unicode: bool = True

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str] = os.environ) -> "Terminal":
        """Colours on a terminal alone, and not where NO_COLOR is set to anything (no-color.org)."""
        try:
            "→│┊●○✗─…█".encode(stream.encoding or "ascii")
            unicode = True
        except (UnicodeEncodeError, LookupError):
            unicode = False
        tty = stream.isatty()
        color = tty and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        return cls(shutil.get_terminal_size().columns if tty else 80, color, unicode)

    def text(self, text: str) -> str:
        text = text.replace(wording.NO_BREAK, " ")
        return text if self.unicode else text.translate(_ASCII).encode("ascii", "replace").decode()

    def painted(self, line: Iterable[Phrase]) -> str:
        """One line, without blanks at its end."""
        phrases = [(self.text(text), style) for text, style in line]
        while phrases and not phrases[-1][0].rstrip():
            phrases.pop()
        if phrases:
            phrases[-1] = (phrases[-1][0].rstrip(), phrases[-1][1])
        if not self.color:
            return "".join(text for text, _ in phrases)
        return "".join(f"\x1b[{_COLORS[style]}m{text}\x1b[0m" if style in _COLORS else text for text, style in phrases)

    def wrap(self, phrases: Sequence[Phrase], width: int, *, indent: int = 2, between: int = 2) -> list[Line]:
        """In lines of at most `width`, the second and later ones indented; breaks inside a phrase only if it must."""
        lines: list[Line] = [[]]
        room = width
        for raw, style in phrases:
            gap = between if lines[-1] else 0
            for part in map(self.text, self._parts(raw if self.unicode else raw.translate(_ASCII), width - indent)):
                if gap + len(part) > room and lines[-1]:
                    lines.append([(" " * indent, "")])
                    room, gap = width - indent, 0
                lines[-1].append((" " * gap + part, style))
                room -= gap + len(part)
                gap = 1  # between the words of a phrase that was broken
        return lines

    def _parts(self, text: str, width: int) -> list[str]:
        if len(text) <= width:
            return [text]
        words = text.split(" ")
        return [word[i : i + width] for word in words for i in range(0, max(len(word), 1), width)]


def length(line: Iterable[Phrase]) -> int:
    return sum(len(text) for text, _ in line)


def padded(line: Line, width: int) -> Line:
    return [*line, (" " * max(width - length(line), 0), "")]
