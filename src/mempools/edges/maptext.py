"""L6: the picture of an arena as lines of text, as wide as the terminal, with colours where they are wanted."""

import os
from collections.abc import Iterator
from itertools import groupby
from string import ascii_lowercase
from typing import TextIO

from mempools import sizes
from mempools.edges.arenamap import (
    MAX_CLASSES,
    ClassRow,
    cell_bytes,
    cells,
    class_rows,
    holder_rows,
    percent,
    summary_of,
)
from mempools.edges.drawing import shortened
from mempools.objects.observing import PAGE
from mempools.picture import Picture, Region

MIN_WIDTH, MAX_ROWS = 40, 16
_LETTERS = ascii_lowercase  # beyond them it begins again
# Of the 256 colours of terminals, those next to the drawing's: a background, and what can be read on it.
_COLOURS = ((32, 231), (214, 16), (36, 231), (166, 231), (117, 16), (175, 16), (142, 16), (95, 231))
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_RESET = "\x1b[0m"


def wants_colour(stream: TextIO) -> bool:
    """On a terminal, unless NO_COLOR or TERM=dumb says no."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def lines(picture: Picture, width: int, colour: bool) -> Iterator[str]:
    """The map, and who holds how much."""
    width = max(width, MIN_WIDTH)
    letters = {pool.name: _LETTERS[i % len(_LETTERS)] for i, pool in enumerate(picture.pools)}
    cell = cell_bytes(picture.nbytes, width * MAX_ROWS)
    used = percent(picture.nbytes - picture.free, picture.nbytes)
    yield f"arena {picture.name or 'without a name'}, {sizes.text(picture.nbytes)}, {used} in use"[:width]
    yield f"a character: {sizes.text(cell)}; capital: taken, small: mostly free; # tables . free pages"[:width]
    row: list[tuple[str, str | None]] = []
    for region, taken in cells(picture, cell):
        row.append((_character(region, taken, letters), region.pool))
        if len(row) == width:
            yield _row(row, letters, colour)
            row = []
    if row:
        yield _row(row, letters, colour)
    yield ""
    kinds = 11 if width >= 64 else 0
    name_width = max(8, min(24, width - 42 - kinds, max((len(pool.name) for pool in picture.pools), default=0)))
    for pool in picture.pools:
        letter = letters[pool.name]
        full = f"{percent(pool.size - pool.free, pool.size):>6} taken" if pool.size else ""
        line = (
            f" {shortened(pool.name, name_width):<{name_width}} {pool.kind[:kinds]:<{kinds}} "
            f"{sizes.text(pool.nbytes):>8} {percent(pool.nbytes, picture.nbytes):>7} {full}"
        )
        mark = f" {letter.upper()} "
        yield (_painted(mark, letter, colour) + line[: width - len(mark)]).rstrip()
    for pool in picture.pools:
        if rows := class_rows(pool):
            yield ""
            yield f"{shortened(pool.name, name_width)}: {summary_of(rows)}"[:width]
            for shape in rows[:MAX_CLASSES]:
                bar = _bar(shape, min(32, width - 46))
                words = f"{len(shape.inuse)} x {sizes.text(shape.pages * PAGE)}"
                full = percent(sum(shape.inuse), shape.objs * len(shape.inuse))
                yield f" {sizes.text(shape.slot_nbytes):>9} {words:>16} {full:>7} full {bar}".rstrip()
            if len(rows) > MAX_CLASSES:
                yield f" and {len(rows) - MAX_CLASSES} classes more"
    yield ""
    words_width = min(36, width - 21)
    for _, words, nbytes in holder_rows(picture):
        words = shortened(words, words_width)
        yield f" {words:<{words_width}} {sizes.text(nbytes):>9} {percent(nbytes, picture.nbytes):>8}"


def _bar(row: ClassRow, width: int) -> str:
    """The zspages of a class, the fullest first, each as high as it is full; some of them where there are many."""
    nr = min(len(row.inuse), width)
    shown = (row.inuse[len(row.inuse) * i // nr] for i in range(nr))
    return "".join(_EIGHTHS[-(-8 * inuse // row.objs)] for inuse in shown)


def _character(region: Region, taken: float, letters: dict[str, str]) -> str:
    if region.pool is not None:
        letter = letters[region.pool]
        return letter.upper() if taken > 0.5 else letter
    return {"free": ".", "taking": "?", "unnamed": "?"}.get(region.what, "#")


def _row(row: list[tuple[str, str | None]], letters: dict[str, str], colour: bool) -> str:
    parts = []
    for (character, pool), group in groupby(row):
        text = character * len(list(group))
        parts.append(text if pool is None else _painted(text, letters[pool], colour))
    return "".join(parts)


def _painted(text: str, letter: str, colour: bool) -> str:
    """Capitals on their pool's colour, small letters in it."""
    if not colour:
        return text
    back, front = _COLOURS[_LETTERS.index(letter) % len(_COLOURS)]
    style = f"38;5;{back}" if text.islower() else f"48;5;{back};38;5;{front}"
    return f"\x1b[{style}m{text}{_RESET}"
