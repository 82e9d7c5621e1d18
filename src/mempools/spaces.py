"""L5: the namespaces of a store: which there are, and where their statistics are counted.

The table of namespaces is one entry of the store, under a key of a kind that no user has (KEY_RESERVED): for each its name, an
id that no other ever had or will have, and the area of its counts. A change replaces the entry, in one step, and is made by
one at a time (`computing.exclusively`); who is killed has changed it or has not. Readers take no lock. After each change a word
of the store's root has its number (objects/storewords.py): so those who use a namespace notice that it was dropped.

Crash windows:
- Between the table and the word: writers do not know of a drop. They notice when anybody reads the table, who mends the word;
  what they have put in between, and what a killed drop has left, is deleted by the next drop, for it belongs to an id that is
  in no table (`swept` says that something may be left).
- Areas come from a PerCpuPool of the store, in the middle of a change, where nobody may wait: an area that is ready, or none,
  and the namespace counts later. Who may wait fills the pool before; for others its worker does. An area is first named by the
  table, then handed over (`keep`). Killed in between, it was the dead process's, and recovery takes it; the table names what is
  not kept, which means nothing, and the next change, which alone could hand that area to another, clears it. An area that is
  kept is never freed, for somebody may be about to count on it: it goes to the next namespace.
"""

import contextlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mempools.errors import Corrupt, Exhausted, PoolError, WaitForbidden
from mempools.objects import spaceindex, storescan, storewords
from mempools.objects.reservedkey import ReservedKey
from mempools.objects.spaceindex import SpaceIndex
from mempools.objects.spacekey import SpacedKey

if TYPE_CHECKING:
    from mempools.namespaces import Namespace
    from mempools.percpupool import PerCpuPool

_Result = TypeVar("_Result")

TABLE = ReservedKey(b"namespaces")
_HEAD = struct.Struct("<IIQII")  # version, next id, changes, nothing is left of dropped ones, number of records
_RECORD = struct.Struct(
    "<IIQ"
)  # id, bytes of the name, area; the name. Without a name and an id: an area for the next one
_VERSION = 1
_LAST_ID = storescan.ALL - 1
_MOST_NAME = 64
_UNIT_NBYTES = 4096  # of the statistics: 128 namespaces a chunk
_LOW, _HIGH = 2, 4  # areas that are kept ready


def checked(name: str) -> bytes:
    """The bytes of a namespace's name, if it can be one."""
    if not isinstance(name, str):
        raise TypeError(f"a namespace's name is a str, not {type(name).__name__}")
    try:
        raw = name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name[:80]!r} cannot name a namespace: {error}") from None
    if not 1 <= len(raw) <= _MOST_NAME:
        raise ValueError(f"{name[:80]!r} cannot name a namespace: 1 to {_MOST_NAME} bytes of UTF-8, not {len(raw)}")
    return raw


@dataclass(frozen=True)
class NamespaceStats:
    """What was asked of a namespace since it was made, and what is in it.

    `gets` (`hits` of which found a value, and `misses`), `puts` and `deletes`, of keys that were there, are of all processes;
    `in` and iteration are not counted. They are exact, but for one call of each process that was killed inside it, and for calls
    while there was no memory for counts: `counted` is False then, and all are 0. `count` entries, `logical_bytes` of values,
    `stored_bytes` as they are stored; None if they were not asked for."""

    name: str
    counted: bool
    gets: int
    hits: int
    misses: int
    puts: int
    deletes: int
    count: int | None
    logical_bytes: int | None
    stored_bytes: int | None


@dataclass(slots=True)
class _Space:
    id: int
    area: int  # offset, 0: none
    name: bytes


class _Table:
    def __init__(self, raw: bytes | None, where: str) -> None:
        self.next_id, self.change, self.swept = 1, 0, 1
        self.spaces: list[_Space] = []
        self.spare: list[int] = []  # areas
        if raw is None:
            return
        try:
            version, self.next_id, self.change, self.swept, nr = _HEAD.unpack_from(raw)
            at = _HEAD.size
            for _ in range(nr if version == _VERSION else 0):
                id, nbytes, area = _RECORD.unpack_from(raw, at)
                at += _RECORD.size + nbytes
                if nbytes:
                    self.spaces.append(_Space(id, area, raw[at - nbytes : at]))
                else:
                    self.spare.append(area)
        except struct.error as error:
            raise Corrupt(f"{where}: its table of namespaces: {error}") from None
        if version != _VERSION or at != len(raw):
            raise Corrupt(f"{where}: its table of namespaces is none of this build's")

    def pack(self) -> bytes:
        spaces = self.spaces + [_Space(0, area, b"") for area in self.spare]
        parts = [_HEAD.pack(_VERSION, self.next_id, self.change, self.swept, len(spaces))]
        for space in spaces:
            parts += _RECORD.pack(space.id, len(space.name), space.area), space.name
        return b"".join(parts)

    def named(self, name: bytes) -> _Space | None:
        return next((space for space in self.spaces if space.name == name), None)

    def of(self, id: int) -> _Space | None:
        return next((space for space in self.spaces if space.id == id), None)


class Spaces:
    """The namespaces of one store, as this process knows them. Thread-safe."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._index = store._index

    @property
    def _pool(self) -> "PerCpuPool | None":
        pool: PerCpuPool | None = self._store._counts
        return pool

    @_pool.setter
    def _pool(self, pool: "PerCpuPool") -> None:
        self._store._counts = pool

    # ---- the table

    def _read(self) -> _Table:
        entry = self._index.get(TABLE)
        table = _Table(None if entry is None else entry[2], f"store {self._index.name!r}")
        storewords.next_spaces(self._index, table.change)  # for one who was killed before this
        return table

    def _write(self, table: _Table) -> None:
        table.change += 1
        raw = table.pack()
        self._index.put(TABLE, 0, len(raw), raw)
        storewords.next_spaces(self._index, table.change)

    def _in_turn(self, change: Callable[[], _Result], *, wait: bool = True) -> _Result | None:
        """What `change()` returns, beside which nobody else changes the table; None if somebody does, and not `wait`."""
        from mempools import computing

        return computing.exclusively(self._store, TABLE, change, wait=wait)

    def held(self) -> int:
        """Bytes of the table, which is an entry of the store; 0: there is none."""
        entry = self._index.get(TABLE)
        return 0 if entry is None else len(entry[2])

    def names(self) -> list[str]:
        return sorted(space.name.decode() for space in self._read().spaces)

    def ids(self) -> dict[int, str]:
        return {space.id: space.name.decode() for space in self._read().spaces}

    # ---- make

    def open(self, name: str) -> "Namespace":
        from mempools.namespaces import Namespace

        raw = checked(name)
        space = self._read().named(raw)
        pool = self.statistics(make=True)
        if space is None:
            self._prepare(pool)
            space = self._in_turn(lambda: self._made(raw, pool))
            assert space is not None
        index = SpaceIndex(self._index, space.id, self.renew, None if pool is None else pool.percpu)
        self.count(index)
        return Namespace(self._store, name, index)

    def _made(self, name: bytes, pool: "PerCpuPool | None") -> _Space:
        """In the turn: the namespace of that name."""
        table = self._read()
        space = table.named(name)
        if space is None:
            if table.next_id > _LAST_ID:
                raise PoolError(f"store {self._index.name!r} has had {_LAST_ID} namespaces, and cannot have more")
            space = _Space(table.next_id, 0, name)
            table.next_id += 1
            table.spaces.append(space)
            self._give_area(table, space, pool)
        return space

    # ---- statistics

    def statistics(self, *, make: bool = False) -> "PerCpuPool | None":
        """The pool of areas; None if there is none, or, with `make`, no room for it. May wait."""
        if self._pool is None and (make or self._index.contains(TABLE)):
            name = f".stats-{self._index.name}"
            if len(name.encode()) > 56:
                import hashlib

                name = ".stats-" + hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
            arena = self._store.arena
            with contextlib.suppress(PoolError, MemoryError):
                percpu = arena.percpu(f"{name}.percpu", unit_nbytes=_UNIT_NBYTES, shares=0, balance=False)
                self._pool = arena.percpu_pool(name, nbytes=spaceindex.STATS_BYTES, low=_LOW, high=_HIGH, percpu=percpu)
        return self._pool

    def _prepare(self, pool: "PerCpuPool | None") -> None:
        """Before a turn: have an area ready, where that may be waited for."""
        if pool is not None and pool.level == 0:
            try:
                pool.refill()
            except WaitForbidden:
                pool.refill_async()
            except Exhausted:
                pass  # it does without

    def _give_area(self, table: _Table, space: _Space, pool: "PerCpuPool | None") -> None:
        """In the turn: writes the table, in which the namespace has an area if there is one. Waits for nothing."""
        if pool is None:
            self._write(table)
            return
        for other in table.spaces:
            if other.area and not spaceindex.is_kept(pool.percpu, other.area):
                other.area = 0
        table.spare = [spare for spare in table.spare if spaceindex.is_kept(pool.percpu, spare)]
        if table.spare:
            space.area = table.spare.pop()
            spaceindex.clear_counts(pool.percpu, space.area)
            self._write(table)
            return
        area = pool.alloc()
        if area is not None:
            space.area = area.offset
        self._write(table)
        if area is not None:
            spaceindex.keep(area)

    def _gave(self, id: int, pool: "PerCpuPool") -> None:
        """In the turn: the namespace has an area, if there is one."""
        table = self._read()
        space = table.of(id)
        if space is not None and not (space.area and spaceindex.is_kept(pool.percpu, space.area)):
            self._give_area(table, space, pool)

    def _counts_already(self, index: SpaceIndex, pool: "PerCpuPool") -> bool:
        """True if there is nothing to be done: the index counts, or its namespace is gone."""
        table = self._read()
        space = table.of(index.id)
        if space is None:
            return True
        # Kept, and named by the table before and after: so it was kept for this namespace.
        if space.area and spaceindex.is_kept(pool.percpu, space.area) and self._read().change == table.change:
            index.count_on(space.area)
            index.renewed(table.change)
        return index.is_counted

    def count(self, index: SpaceIndex, *, wait: bool = True) -> None:
        """Have it count, if there is an area. Without `wait` in no case waits: neither for an area, nor for others who change the
        table."""
        pool = self._pool
        if index.is_counted or pool is None or self._counts_already(index, pool):
            return
        if wait:
            self._prepare(pool)
        elif pool.level == 0:
            pool.refill_async()
        self._in_turn(lambda: self._gave(index.id, pool), wait=wait)
        self._counts_already(index, pool)

    def renew(self, index: SpaceIndex, must: bool) -> None:
        """What a SpaceIndex calls."""
        if not must:
            with contextlib.suppress(PoolError, MemoryError):
                self.count(index, wait=False)
            return
        table = self._read()
        space = table.of(index.id)
        if space is None:
            raise PoolError(
                f"store {self._index.name!r}: the namespace was dropped; store.namespace(...) makes another of its name"
            )
        index.renewed(table.change)

    # ---- drop

    def drop_name(self, name: str) -> int:
        table = self._read()
        space = table.named(checked(name))
        return self.drop(space.id) if space is not None else 0 if table.swept else self._sweep(table)

    def drop(self, id: int) -> int:
        """How many entries were deleted."""
        table = self._in_turn(lambda: self._dropped(id))
        return 0 if table is None or table.swept else self._sweep(table)

    def _dropped(self, id: int) -> _Table:
        """In the turn: the table without that namespace."""
        table = self._read()
        space = table.of(id)
        if space is not None:
            table.spaces.remove(space)
            if space.area:
                table.spare.append(space.area)
            table.swept = 0
            self._write(table)
        return table

    def _sweep(self, table: _Table) -> int:
        """Deletes what belongs to no namespace of the table, nor to one that came after it."""
        live = {space.id for space in table.spaces}
        nr = cursor = 0
        while cursor < self._index.scan_end:
            cursor, keys = storescan.scan(self._index, cursor, storescan.ALL)
            for key in keys:
                if isinstance(key, SpacedKey) and key.id < table.next_id and key.id not in live:
                    nr += self._index.delete(key)
        self._in_turn(lambda: self._swept(table.change))
        return nr

    def _swept(self, change: int) -> None:
        """In the turn: nothing is left, unless there was another change."""
        table = self._read()
        if table.change == change:
            table.swept = 1
            self._write(table)

    # ---- what is in them

    def stats(self, index: SpaceIndex, name: str, sizes: tuple[int, int, int] | None) -> NamespaceStats:
        """`sizes`: entries, bytes of the values, bytes as stored; None: unknown."""
        counts = index.counts
        hits, misses, puts, deletes = counts or (0, 0, 0, 0)
        count, logical, stored = sizes or (None, None, None)
        return NamespaceStats(
            name, counts is not None, hits + misses, hits, misses, puts, deletes, count, logical, stored
        )

    def all_stats(self) -> list[NamespaceStats]:
        """Of every namespace, with one walk over the store."""
        totals = self.sizes(storescan.ALL)
        found = []
        for id, name in sorted(self.ids().items(), key=lambda each: each[1]):
            pool = self.statistics()
            index = SpaceIndex(self._index, id, self.renew, None if pool is None else pool.percpu)
            if pool is not None:
                self._counts_already(index, pool)
            found.append(self.stats(index, name, totals.get(id, (0, 0, 0))))
        return found

    def sizes(self, which: int) -> dict[int, tuple[int, int, int]]:
        """By id: entries, bytes of the values, bytes as stored."""
        totals: dict[int, tuple[int, int, int]] = {}
        cursor = 0
        while cursor < self._index.scan_end:
            cursor, found = storescan.scan(self._index, cursor, which, True)
            for id, logical, stored in found:
                count, all_logical, all_stored = totals.get(id, (0, 0, 0))
                totals[id] = count + 1, all_logical + logical, all_stored + stored
        return totals
