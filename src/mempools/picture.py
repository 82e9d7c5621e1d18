"""L5: a picture of an arena: what each byte of it is for, and who holds it.

Taken by looking only (objects/observing.py): no slot, no lock, nothing that others would notice. Others may allocate, free, grow
and die meanwhile, so a picture is of no single moment; but it is whole: its regions follow one another from 0 to the arena's end.
"""

import os
import re
import stat
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from mempools import names
from mempools.errors import Corrupt, LayoutMismatch
from mempools.layout.proctable import Process, snapshot
from mempools.layout.superblock import inspect
from mempools.objects import observing
from mempools.objects.observing import META, PAGE, RESERVE, SHARED, STRUCT, SeenChunk, SeenPool, SeenZspage

Read = Callable[[int, int], bytes]

FREE = 0  # owners are numbers: this, a slot of the process table, or one of the names below
OWNERS = {FREE: "free", RESERVE: "reserve", STRUCT: "structures", SHARED: "shared", META: "nobody's"}

_WITHOUT_START = bytes(value & ~observing.START_BIT & 0xFF for value in range(256))
_STARTS = bytes(value for value in range(256) if value & observing.START_BIT and value & ~observing.START_BIT != META)
_RUN = re.compile(rb"(.)\1*", re.DOTALL)


@dataclass(frozen=True)
class Run:
    """Bytes that follow one another and have one owner."""

    address: int
    nbytes: int
    owner: int


@dataclass(frozen=True)
class Granules:
    """What is allocated from: `owners` has a byte for each granule of `granule` bytes from `address` on: 0 (free), a slot of the
    process table, or a key of `OWNERS`. A PerCpu has `nr_units` copies of it, one after the other."""

    address: int
    granule: int
    owners: bytes = field(repr=False)
    nr_blocks: int
    nr_units: int = 1
    zspages: tuple[SeenZspage, ...] = field(default=(), repr=False)  # of a ZsPool, in order

    @property
    def unit_nbytes(self) -> int:
        return len(self.owners) * self.granule

    @property
    def nbytes(self) -> int:
        return self.unit_nbytes * self.nr_units

    def runs(self) -> Iterator[Run]:
        """All of it, upwards."""
        for unit in range(self.nr_units):
            address = self.address + unit * self.unit_nbytes
            for match in _RUN.finditer(self.owners):
                first, end = match.span()
                yield Run(address + first * self.granule, (end - first) * self.granule, self.owners[first])

    def taken(self, address: int, nbytes: int) -> int:
        """Bytes between two addresses that are neither free nor in free slots of zspages."""
        found = -round(sum(self._holes(address, address + nbytes)))
        while nbytes > 0:
            at = (address - self.address) % self.unit_nbytes
            part = min(nbytes, self.unit_nbytes - at)
            first, end = at // self.granule, -(-(at + part) // self.granule)
            share = 1 - self.owners.count(FREE, first, end) / (end - first)
            found += round(part * share)
            address, nbytes = address + part, nbytes - part
        return found

    def _holes(self, start: int, end: int) -> Iterator[float]:
        first = bisect_left(self.zspages, start, key=lambda zspage: zspage.offset + zspage.nbytes)
        for zspage in self.zspages[first:]:
            part = min(end, zspage.offset + zspage.nbytes) - max(start, zspage.offset)
            if part <= 0:
                break
            yield part * (1 - zspage.inuse / zspage.objs)

    @cached_property
    def by_owner(self) -> dict[int, int]:
        """Bytes of each owner."""
        found = {}
        rest = self.owners
        while rest:
            others = rest.translate(None, rest[:1])
            found[rest[0]] = (len(rest) - len(others)) * self.granule * self.nr_units
            rest = others
        return found


@dataclass(frozen=True)
class Region:
    """A part of an arena. `what` it is: "superblock", "process table", "directory", "page map"; "free" pages; of a pool its
    "table", "shares" (records of what is pickled), "map" (of owners), what is allocated from ("blocks", "values", "elements",
    "units", "zspages"), the "rest" of the last page; pages that a process is "taking" or that are "unnamed": nobody's that can
    be told."""

    offset: int
    nbytes: int
    what: str
    pool: str | None = None
    granules: Granules | None = None

    @property
    def end(self) -> int:
        return self.offset + self.nbytes


@dataclass(frozen=True)
class PoolPicture:
    """A pool; sizes in bytes. `nbytes` of the arena, `size` to allocate from (of foreign memory too), by owner. `counters`: what
    its table counts, as its `stats()` calls it."""

    name: str
    kind: str
    granule: int
    foreign: bool
    nbytes: int
    size: int
    nr_blocks: int
    by_owner: dict[int, int]
    granules: tuple[Granules, ...] = field(repr=False)
    counters: dict[str, int]

    @property
    def free(self) -> int:
        return self.by_owner.get(FREE, 0)

    @property
    def zspages(self) -> Iterator[SeenZspage]:
        """Of a pool of zspages: which there are, and how full each is."""
        for granules in self.granules:
            yield from granules.zspages


@dataclass(frozen=True)
class Picture:
    """An arena: `regions` cover its `nbytes` bytes without gap or overlap, in order. `processes`: of its table; those that are
    not `alive` have died and not been swept."""

    name: str | None
    id: str
    nbytes: int
    regions: tuple[Region, ...] = field(repr=False)
    pools: tuple[PoolPicture, ...]
    processes: tuple[Process, ...]

    @property
    def free(self) -> int:
        """Bytes of pages that no pool has."""
        return sum(region.nbytes for region in self.regions if region.what == "free")

    @cached_property
    def by_owner(self) -> dict[int, int]:
        """Bytes of each owner's, in all pools."""
        found: dict[int, int] = {}
        for pool in self.pools:
            for owner, nbytes in pool.by_owner.items():
                found[owner] = found.get(owner, 0) + nbytes
        return found

    @cached_property
    def slots(self) -> dict[int, Process]:
        """The processes by what stands for them in maps of owners."""
        return {process.slot: process for process in self.processes}

    def owner(self, number: int) -> str:
        """In words: "free", "process 42", "process 42, dead", ..."""
        if number in OWNERS:
            return OWNERS[number]
        process = self.slots.get(number)
        if process is None:
            return "unknown"
        return f"process {process.pid}" + ("" if process.alive else ", dead")


# ---- taking it

_NOUNS = {"store": "values", "mempool": "elements", "percpu": "units", "zspool": "zspages", "zram": "zspages"}


def _granules(
    read: Read, pool: SeenPool, chunk: SeenChunk, nr_units: int = 1, zspages: tuple[SeenZspage, ...] = ()
) -> Granules:
    raw = read(chunk.nr, chunk.map).ljust(chunk.nr, b"\0")
    owners = raw.translate(_WITHOUT_START)
    return Granules(chunk.base, pool.granule, owners, len(raw) - len(raw.translate(None, _STARTS)), nr_units, zspages)


def _units(read: Read, nbytes: int, pool: SeenPool, chunk: SeenChunk, root: bytes) -> Granules | None:
    nr_units, unit_nbytes = observing.units_seen(root)
    if nr_units * unit_nbytes > nbytes - chunk.base or chunk.nr * pool.granule != unit_nbytes:
        return None
    return _granules(read, pool, chunk, nr_units)


def _zspages(read: Read, nbytes: int, pool: SeenPool, chunk: SeenChunk, root: bytes) -> Granules:
    end = chunk.base + chunk.nr * pool.granule
    mine: list[SeenZspage] = []
    for zspage in observing.zspages_seen(read, nbytes, root):
        # Of two that overlap, which only a change in between or garbage makes, the first is believed.
        after = mine[-1].offset + mine[-1].nbytes if mine else chunk.base
        if after <= zspage.offset <= end - zspage.nbytes:
            mine.append(zspage)
    return _granules(read, pool, chunk, zspages=tuple(mine))


# A kind whose chunks are not simply granules says here what a chunk of it holds; None: nothing that makes sense.
_OF_KIND: dict[str, Callable[[Read, int, SeenPool, SeenChunk, bytes], Granules | None]] = {
    "percpu": _units,
    "zspool": _zspages,
    "zram": _zspages,
    "store": _zspages,
}


def take(read: Read, nbytes: int, processes: list[Process], *, name: str | None, id: str) -> Picture:
    """The picture of an arena of `nbytes` bytes that `read(nbytes, offset)` reads."""
    seen = observing.pools_seen(read, nbytes)
    runs: list[tuple[int, int, list[Region]]] = []
    pools = []
    pages = b""
    for pool in seen:
        if pool.index == 0:
            if pool.chunks:
                pages = _granules(read, pool, pool.chunks[0]).owners
            continue
        root = read(pool.root_nbytes, pool.root) if pool.root_nbytes <= nbytes and pool.root < nbytes else b""
        found = [granules for chunk in pool.chunks for granules in _chunk(read, nbytes, pool, chunk, root, runs)]
        for offset, size, what in ((pool.root, pool.root_nbytes, "table"), (pool.shares, pool.shares_nbytes, "shares")):
            whole = -(-size // PAGE) * PAGE
            runs.append((offset, whole, [Region(offset, whole, what, pool.name)]))
        pools.append((pool, found, root))
    regions = tuple(_cover(nbytes, runs, pages))
    sizes: dict[str | None, int] = {}
    for region in regions:
        sizes[region.pool] = sizes.get(region.pool, 0) + region.nbytes
    return Picture(
        name,
        id,
        nbytes,
        regions,
        tuple(_pool(pool, found, root, sizes.get(pool.name, 0)) for pool, found, root in pools),
        tuple(processes),
    )


def _chunk(
    read: Read, nbytes: int, pool: SeenPool, chunk: SeenChunk, root: bytes, runs: list[tuple[int, int, list[Region]]]
) -> Iterator[Granules]:
    """The granules of a chunk; its pages are added to `runs`."""
    granules = (
        _OF_KIND[pool.kind](read, nbytes, pool, chunk, root) if pool.kind in _OF_KIND else _granules(read, pool, chunk)
    )
    run, end = chunk.run, chunk.run + chunk.run_nbytes
    if granules is None or pool.foreign:
        runs.append((run, chunk.run_nbytes, [Region(run, chunk.run_nbytes, "map", pool.name)]))
    elif run <= granules.address and granules.address + granules.nbytes <= end:
        after = granules.address + granules.nbytes
        parts = [
            Region(run, granules.address - run, "map", pool.name),
            Region(granules.address, granules.nbytes, _NOUNS.get(pool.kind, "blocks"), pool.name, granules),
            Region(after, end - after, "rest", pool.name),
        ]
        runs.append((run, chunk.run_nbytes, [part for part in parts if part.nbytes]))
    else:
        return
    if granules is not None:
        yield granules


def _pool(pool: SeenPool, found: list[Granules], root: bytes, nbytes: int) -> PoolPicture:
    by_owner: dict[int, int] = {}
    for granules in found:
        for owner, size in granules.by_owner.items():
            by_owner[owner] = by_owner.get(owner, 0) + size
    by_owner.pop(META, None)
    return PoolPicture(
        pool.name,
        pool.kind,
        pool.granule,
        pool.foreign,
        nbytes,
        sum(granules.nbytes for granules in found),
        sum(granules.nr_blocks for granules in found),
        by_owner,
        tuple(found),
        observing.counters_seen(pool.kind, root),
    )


def _cover(nbytes: int, runs: list[tuple[int, int, list[Region]]], pages: bytes) -> Iterator[Region]:
    """All bytes from 0 to `nbytes`: the runs that pools name, and what the page map says of the rest. Of runs that overlap, which
    only a change in between or garbage makes, the first is believed."""
    at = 0
    for offset, size, parts in sorted(runs, key=lambda run: run[:2]):
        if size == 0 or offset < at or offset % PAGE or size > nbytes - offset:
            continue
        yield from _between(at, offset, nbytes, pages)
        yield from parts
        at = offset + size
    yield from _between(at, nbytes, nbytes, pages)


def _between(at: int, end: int, nbytes: int, pages: bytes) -> Iterator[Region]:
    """What no pool names."""
    if at == 0:
        for what, size in (*observing.TABLES, ("directory", observing.DIRECTORY)):
            size = min(size, end - at)
            if size:
                yield Region(at, size, what)
            at += size
    for match in _RUN.finditer(pages.ljust(nbytes // PAGE, b"\0"), at // PAGE, end // PAGE):
        owner, (first, last) = match[1][0], match.span()
        what = {FREE: "free", META: "page map"}.get(owner, "unnamed" if owner in OWNERS else "taking")
        yield Region(first * PAGE, (last - first) * PAGE, what)


# ---- of a named arena, without attaching


class Observer:
    """The named arena `name`, to look at: it takes no slot in its process table and no lock, sweeps nothing, and keeps nobody
    from removing it. FileNotFoundError, LayoutMismatch or Corrupt as of `Arena.attach`. Close it, or use it as a context manager.
    Thread-safe but for `close`."""

    def __init__(self, name: str) -> None:
        self.name = name
        path = names.path_of(name)
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | os.O_NOFOLLOW
        self._fd = os.open(path, flags)
        try:
            info = os.fstat(self._fd)
            if not stat.S_ISREG(info.st_mode):
                raise LayoutMismatch(f"{path} is not a regular file, so not an arena")
            if info.st_uid != os.geteuid():
                raise PermissionError(1, f"made by user {info.st_uid} in this user's name", path)
            try:
                header = inspect(self._fd)
            except (LayoutMismatch, Corrupt) as error:
                raise type(error)(f"{path}: {error}") from None
        except BaseException:
            os.close(self._fd)
            raise
        self.nbytes = header.nbytes
        self.id = header.id

    @property
    def removed(self) -> bool:
        """Whether the name has been removed: nobody new can find the arena."""
        return os.fstat(self._fd).st_nlink == 0

    def picture(self) -> Picture:
        """As `Arena.picture`."""
        return of_file(self._fd, self.nbytes, name=self.name, id=self.id)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def of_file(fd: int, nbytes: int, *, name: str | None, id: str) -> Picture:
    """The picture of the arena behind `fd`."""
    return take(lambda size, offset: os.pread(fd, size, offset), nbytes, snapshot(fd), name=name, id=id)
