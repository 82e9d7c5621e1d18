"""L6: a progress bar on a terminal; nothing anywhere else."""

import shutil
import sys
import time
from types import TracebackType
from typing import Self, TextIO

from mempools import sizes

_INTERVAL = 0.1  # seconds between two drawings


class Progress:
    """`with Progress("packing", total) as bar: bar.add(nbytes)`. Draws on `stream` if that is a terminal, and wipes
    what it drew at the end."""

    def __init__(self, label: str, total: int, stream: TextIO | None = None) -> None:
        self._label = label
        self._total = total
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._done = 0
        self._start = self._drawn = time.monotonic()

    def add(self, nbytes: int) -> None:
        self._done += nbytes
        now = time.monotonic()
        if self._shown and now - self._drawn >= _INTERVAL:
            self._drawn = now
            self._draw(now)

    def restart(self) -> None:
        """From zero again."""
        self._done = 0
        self._start = time.monotonic()

    def line(self, now: float, width: int) -> str:
        """What stands on the terminal at a moment, in `width` columns."""
        part = min(self._done / self._total, 1.0) if self._total else 1.0
        seconds = now - self._start
        rate = self._done / seconds if seconds > 0 else 0.0
        left = (self._total - self._done) / rate if rate else 0.0
        tail = f" {part:4.0%}  {sizes.text(self._done)}, {sizes.text(int(rate))}/s, {max(left, 0):.0f} s left"
        room = width - len(self._label) - len(tail) - 4
        bar = f" [{'#' * int(part * room):<{room}}]" if room >= 5 else ""
        return f"{self._label}{bar}{tail}"[:width]

    def _draw(self, now: float) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._stream.write(f"\r{self.line(now, width):<{width}}")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._stream.write(f"\r{' ' * (shutil.get_terminal_size().columns - 1)}\r")
            self._stream.flush()
