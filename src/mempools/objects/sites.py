"""L4: where this process allocated and freed its blocks, for error messages and for finding leaks. Off by default: it costs
about a microsecond a call.

A note is kept for each address at which a block was allocated, and stays when the block is freed, so that a double free can
name the place of the first.
"""

import sys
from dataclasses import dataclass

_Key = tuple[str, int, int]  # arena id, number of the pool, address


@dataclass
class _Note:
    pool: str
    nbytes: int
    allocated: str
    freed: str | None = None


@dataclass(frozen=True)
class Allocation:
    """A block that was allocated while tracing and is not freed: pool, offset (or address), bytes, "FILE:LINE in FUNCTION"."""

    pool: str
    offset: int
    nbytes: int
    site: str


_notes: dict[_Key, _Note] = {}


def caller() -> str:
    """The Python code that called into the compiled pool."""
    frame = sys._getframe(1)  # compiled code has no frames of its own
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def allocated(key: _Key, pool: str, nbytes: int, site: str) -> None:
    _notes[key] = _Note(pool, nbytes, site)


def freed(key: _Key, site: str) -> None:
    note = _notes.get(key)
    if note is not None:
        note.freed = site


def text(key: _Key) -> str:
    """What is known of an address, for a message; empty if nothing."""
    note = _notes.get(key)
    if note is None:
        return ""
    return f", allocated at {note.allocated}" + (f", freed at {note.freed}" if note.freed else "")


def allocations() -> list[Allocation]:
    """The blocks that this process has allocated since `trace_allocations(True)` and not freed, oldest first: what leaks.

    Thread-safe; a moment's picture."""
    return [
        Allocation(note.pool, key[2], note.nbytes, note.allocated)
        for key, note in list(_notes.items())
        if note.freed is None
    ]


def forget() -> None:
    _notes.clear()
