"""L5: the named arenas of this user: who is alive, what was left behind, and its removal."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime

from mempools import arenafile, names
from mempools.errors import PoolError
from mempools.layout.proctable import ATTACH_BYTE, Process, snapshot
from mempools.layout.superblock import Header, inspect
from mempools.machine import files


@dataclass(frozen=True)
class ArenaInfo:
    """A named arena as `arenas()` finds it. `nbytes` bytes; `broken` says why it cannot be attached to, else None."""

    name: str
    path: str
    nbytes: int
    persist: bool
    created: datetime | None
    live: bool
    processes: tuple[Process, ...]
    broken: str | None

    @property
    def pids(self) -> tuple[int, ...]:
        """Numbers of the live processes that have registered with it."""
        return tuple(sorted({process.pid for process in self.processes if process.alive}))


def _header(fd: int) -> tuple[Header | None, str | None]:
    try:
        return inspect(fd), None
    except PoolError as error:
        return None, str(error)


def _open(path: str) -> int | None:
    """A descriptor that holds no lock; None if the file has gone, or is not ours to open."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None


def arenas() -> list[ArenaInfo]:
    """The named arenas of this user, sorted by name: live ones, leftovers and broken files.

    Attaches to none of them. Thread-safe, process-safe; a moment's picture.
    """
    found = []
    for name, path in names.named_files():
        fd = _open(path)
        if fd is None:
            continue
        try:
            header, broken = _header(fd)
            found.append(
                ArenaInfo(
                    name=name,
                    path=path,
                    nbytes=os.fstat(fd).st_size,
                    persist=header is not None and header.persist,
                    created=datetime.fromtimestamp(header.created_ns / 1e9, UTC) if header else None,
                    live=files.locked(fd, ATTACH_BYTE),
                    processes=tuple(snapshot(fd)) if header else (),
                    broken=broken,
                )
            )
        finally:
            os.close(fd)
    return found


def _remove_if_dead(path: str, *, named: bool, broken_too: bool) -> bool:
    fd = _open(path)
    if fd is None:
        return False
    try:
        if not files.try_lock(fd, ATTACH_BYTE):
            return False  # somebody has it open
        if named:
            header, broken = _header(fd)
            if (header is not None and header.persist) or (broken is not None and not broken_too):
                return False
        return arenafile.remove(path, fd)
    finally:
        os.close(fd)


def gc(all: bool = False) -> list[str]:
    """Remove what dead processes left: named arenas that no process has open, and files that were never finished.

    Never removes an arena that some process has open, nor a persistent one (`Arena.unlink` does). Files that bear an
    arena's name but are none are removed only with `all`, and only if nobody holds them. Returns the names (or file
    names) removed. Thread-safe, process-safe.
    """
    removed = [name for name, path in names.named_files() if _remove_if_dead(path, named=True, broken_too=all)]
    removed += [
        os.path.basename(path)
        for path in names.temporary_files()
        if _remove_if_dead(path, named=False, broken_too=True)
    ]
    return removed
