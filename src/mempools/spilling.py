"""L5: spilling the cold values of a store to a file, and reading them back: `Store.spill` and what reads.

A spilled key has an entry still, with a stub (spillfile.py) in the place of its stored value. Each change here is a
compare-and-replace of one entry: a put, a deletion, or anybody's change that comes between wins, and what was written for it in
the file is dead.

  dies            | leaves
  before the stub | the value in memory, dead bytes in the file
  after the stub  | the value in the file
  writing anew    | both files; what is moved is in the new one; the next who writes anew goes on
"""

import contextlib
import fcntl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mempools.errors import Corrupt, Exhausted, PoolError
from mempools.objects import storescan, storespill
from mempools.objects.storeindex import StoreIndex
from mempools.objects.storereplace import hold
from mempools.spillfile import SPILLED, Files, Key, Stub, bytes_of, unpack

LEAST = 256  # stored bytes that are worth a stub
_LONGEST = 1024  # bytes of a key: a stub's entry is one object
_WORTH = 1 << 20  # bytes of a file that is written anew by itself

Stored = tuple[int, int, bytes]  # codec number, bytes of the value, as it is stored


@dataclass(frozen=True)
class SpillResult:
    """What `Store.spill` did: values that it looked at, that it spilled, their stored bytes; bytes that went with files in which
    over half was dead."""

    looked_at: int
    spilled: int
    spilled_bytes: int
    file_freed_bytes: int = 0


def keys(index: StoreIndex) -> Iterator[Key]:
    cursor = 0
    while cursor < index.scan_end:
        cursor, found = storescan.scan(index, cursor, storescan.ALL)
        yield from found


# ---- reading


def _read(store: Any, key: Key, raw: bytes) -> tuple[int, bytes]:
    stub = unpack(key, raw)
    return stub.codec, store._files.read(key, stub)


def fetch(store: Any, key: Key, nbytes: int, raw: bytes, promote: bool = True) -> Stored:
    """What the stub `raw` stands for, which `key` had a moment ago; KeyError if the key is gone meanwhile. It comes back to
    memory if there is room, and nobody would have to go for it."""
    while True:
        try:
            number, stored = _read(store, key, raw)
        except (Corrupt, OSError):
            again = store._index.get(key)  # its file may have been written anew, and be gone
            if again is None:
                raise KeyError(key) from None
            if again[0] != SPILLED:
                found: Stored = again
                return found
            if again[2] == raw:
                raise
            nbytes, raw = again[1:]
            continue
        if promote:
            try:
                _change(store, key, raw, number, stored, False)
            except (PoolError, MemoryError):
                pass
        return number, nbytes, stored


def pop(store: Any, key: Key) -> Stored | None:
    """Deletes; what was there, read first: its file cannot go before the key has."""
    while True:
        held = hold(store._index, key)
        if held is None:
            return None
        with held:
            number, nbytes, raw = held.codec, held.nbytes, held.read()
            if raw is None:
                continue
            if number != SPILLED:
                if held.remove():
                    return number, nbytes, raw
                continue
        try:
            number, stored = _read(store, key, raw)
        except (Corrupt, OSError):
            again = store._index.get(key)
            if again is not None and again[2] == raw:
                raise
            continue
        if _change(store, key, raw, 0, None, True):
            return number, nbytes, stored


def _change(store: Any, key: Key, raw: bytes, codec: int, new: bytes | None, patient: bool) -> bool | None:
    """Something else in the place of this stub, or None: the key's end. As of Held.replace."""
    held = hold(store._index, key)
    if held is None:
        return False
    with held:
        if held.codec != SPILLED or held.read() != raw:
            return False
        return held.remove() if new is None else held.replace(codec, new, patient)


# ---- writing


def spill(store: Any, idle: float, max_bytes: int | None, max_entries: int | None) -> SpillResult:
    """What `Store.spill` does."""
    files: Files = store._files
    looked_at = spilled = nbytes = 0
    with files.lock(fcntl.LOCK_SH) as locked:
        for key in keys(store._index):
            if spilled == max_entries or (max_bytes is not None and nbytes >= max_bytes):
                break
            held = hold(store._index, key)
            if held is None:
                continue
            with held:
                looked_at += 1
                if held.codec == SPILLED or held.nr_stored < LEAST or (idle and held.idle < idle):
                    continue
                stored = held.read() if len(key) <= _LONGEST // 4 or len(bytes_of(key)) <= _LONGEST else None
                if stored is None:
                    continue
                done = held.replace(SPILLED, locked.append(key, held.codec, stored).pack(), True)
            if done is None:
                raise Exhausted(
                    f"store {store.name!r}: no room for the note that {key!r} is in the spill file; {spilled} values were spilled"
                )
            if done:
                spilled += 1
                nbytes += len(stored)
    freed = 0
    live, (_, grown) = storespill.outside(store._index)[1], storespill.grows(store._index)
    if grown > _WORTH and live * 2 < grown:
        freed = rewrite(store)
    return SpillResult(looked_at, spilled, nbytes, freed)


def rewrite(store: Any) -> int:
    """What `Store.rewrite_spill` does."""
    files: Files = store._files
    with contextlib.ExitStack() as stack:
        with files.lock(fcntl.LOCK_EX) as before:
            files.make_next(before.number + 1)
            locked = stack.enter_context(files.lock(fcntl.LOCK_SH))  # nobody can begin the next one meanwhile
        left = sum(not _moved(store, key, locked) for key in keys(store._index))
        return 0 if left else files.remove(locked.number)


def _moved(store: Any, key: Key, locked: Any) -> bool:
    """No stub of this key names an older file now."""
    while True:
        held = hold(store._index, key)
        if held is None:
            return True
        with held:
            if held.codec != SPILLED:
                return True
            raw = held.read()
        if raw is None:
            continue
        try:
            stub: Stub = unpack(key, raw)
            if stub.number == locked.number:
                return True
            stored = store._files.read(key, stub)
        except Corrupt:
            return False
        done = _change(store, key, raw, SPILLED, locked.append(key, stub.codec, stored).pack(), True)
        if done is not False:
            return bool(done)
