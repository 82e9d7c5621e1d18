"""L4: a store's index as one of its namespaces sees it, and counts what is asked of it.

The counts are four words of an area that every CPU has its own copy of (a PerCpu's): a relaxed add to a line that does not
travel. The area is the namespace's for good: OWNER_STRUCT's in the owner map, never freed while the store exists, for a process
that has not heard of the namespace's end may still count. Whoever is killed between an operation and its count has not counted.

Without an area nothing is counted, and every _PATIENCE calls `renew` is asked to look for one. `renew(index, must)` never waits
if not `must`, and then raises nothing; with `must` it looks whether the namespace is still there, and PoolError if not. It is
called before or after a put that finds that the namespaces have changed: objects/storewords.py says why that is enough.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.spaceindex is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.chunks import pool_known, pool_update
from cython.cimports.mempools.layout.refs import ChunkRef
from cython.cimports.mempools.machine.atomics import fetch_add_relaxed, read_once, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.area import Area
from cython.cimports.mempools.objects.percpuobject import PerCpu
from cython.cimports.mempools.objects.spacekey import SpacedKey, spaced
from cython.cimports.mempools.objects.storeindex import StoreIndex
from cython.cimports.mempools.objects.storewords import last_change
from cython.cimports.mempools.parts.ownermap import owner_at, transfer
from cython.cimports.mempools.parts.owners import OWNER_MASK, OWNER_STRUCT
from cython.cimports.mempools.parts.status import OK
from cython.cimports.mempools.parts.viewcount import VIEWS_FREED
from cython.cimports.mempools.pools.genpool import genpool_chunk
from cython.cimports.mempools.pools.hashentry import MAX_KEY, SPACE_BYTES
from cython.cimports.mempools.pools.percpu import percpu_ptr, percpu_this_unit
from cython.cimports.mempools.pools.percpuindex import PERCPU_SHIFT

from mempools.errors import Corrupt, PoolError

register_module(cython.address(this_module_step))

_HITS = cython.declare(uint64_t, 0)
_MISSES = cython.declare(uint64_t, 1)
_PUTS = cython.declare(uint64_t, 2)
_DELETES = cython.declare(uint64_t, 3)
_BYTES = cython.declare(uint64_t, 32)
_GRANULES = cython.declare(uint64_t, 8)  # of PERCPU_SHIFT: a word of the owner map
_PATIENCE = cython.declare(uint64_t, 256)

STATS_BYTES = _BYTES


@cython.final
@cython.cclass
class SpaceIndex:
    """For Namespace: what StoreIndex offers, under keys of the namespace `id`. Thread-safe, process-safe."""

    def __cinit__(self, index: StoreIndex, id: uint64_t, renew: object, percpu: object):
        self.index = index
        self.id = id
        self.renew = renew
        self.percpu = percpu

    @property
    def name(self) -> str:
        """The store's."""
        return self.index.name

    @property
    def scan_end(self) -> int:
        return self.index.scan_end

    # ---- is it there, is it counted

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def check_there(self) -> cython.int:
        if self.index.mapping.closed or self.index.ref.gone:
            self.index.check_open()
        if last_change(self.index) != self.seen:
            self.renew(self, True)
        return 0

    def renewed(self, change: uint64_t, /) -> None:
        """The namespace is there by the table of that change."""
        self.seen = change

    @property
    def is_counted(self) -> bool:
        return self.words != cython.NULL

    def count_on(self, address: uint64_t, /) -> None:
        """From now on count in that area of the PerCpu, which is kept."""
        if not is_kept(self.percpu, address):
            raise ValueError(f"{address:#x} is no area that is kept")
        self.words = percpu_ptr(cython.address(self.percpu.units_ref), address, 0)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def look(self) -> cython.int:
        """There are no statistics."""
        self.calls += 1
        if self.calls % _PATIENCE == 0:
            self.renew(self, False)
        return 0

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def count(self, which: uint64_t) -> cython.int:
        unit: uint64_t
        if self.words == cython.NULL:
            return self.look()
        if self.percpu.mapping.closed or self.percpu.ref.gone:
            return 0
        unit = percpu_this_unit(cython.address(self.percpu.units_ref))
        # Relaxed: statistics.
        fetch_add_relaxed(
            cython.cast(cython.pointer(uint64_t), self.words + unit * self.percpu.units_ref.unit_nbytes) + which,
            1,
            b"spaceindex.count",
        )
        return 0

    @property
    def counts(self) -> object:
        """(hits, misses, puts, deletes), of all processes; None: nothing is counted."""
        sums: uint64_t[4]
        unit: uint64_t
        which: uint64_t
        if self.words == cython.NULL:
            return None
        self.percpu.check_open()
        for which in range(4):
            sums[which] = 0
            for unit in range(self.percpu.units_ref.nr_units):
                sums[which] += read_once(
                    cython.cast(cython.pointer(uint64_t), self.words + unit * self.percpu.units_ref.unit_nbytes)
                    + which,
                    b"spaceindex.sum",
                )
        return (sums[0], sums[1], sums[2], sums[3])

    # ---- what StoreIndex offers

    def get(self, key, /):
        found: object = self.index.get(spaced(self.id, key))
        self.count(_MISSES if found is None else _HITS)
        return found

    def get_filled(self, key, number, fill, /):
        found: object = self.index.get_filled(spaced(self.id, key), number, fill)
        self.count(_MISSES if found is None else _HITS)
        return found

    def ttl(self, key, /):
        return self.index.ttl(spaced(self.id, key))

    def touch(self, key, ttl, /):
        return self.index.touch(spaced(self.id, key), ttl)

    def get_raw_into(self, key, buffer, number=0, fill=None, /):
        found: object = self.index.get_raw_into(spaced(self.id, key), buffer, number, fill)
        self.count(_MISSES if found is None else _HITS)
        return found

    def contains(self, key, /):
        return self.index.contains(spaced(self.id, key))

    def put(self, key, /, *rest):
        """PoolError: the namespace was dropped."""
        name: SpacedKey = spaced(self.id, key)
        if name.nbytes > MAX_KEY:
            raise ValueError(
                f"keys of a namespace have up to {MAX_KEY - SPACE_BYTES} bytes, not {name.nbytes - SPACE_BYTES}"
            )
        self.check_there()
        done: object = self.index.put(name, *rest)
        try:
            self.check_there()
        except PoolError:
            self.index.delete(name)
            raise
        if done:
            self.count(_PUTS)
        return done

    def delete(self, key, /):
        done: object = self.index.delete(spaced(self.id, key))
        if done:
            self.count(_DELETES)
        return done

    def pop(self, key, /):
        found: object = self.index.pop(spaced(self.id, key))
        if found is not None:
            self.count(_DELETES)
        return found


# ---- areas


def is_kept(percpu: PerCpu, address: uint64_t) -> bool:
    """Is that an area of a namespace's?"""
    chunk: cython.pointer(ChunkRef)
    percpu.check_open()
    pool_update(percpu.ref)
    chunk = genpool_chunk(percpu.ref, address, _BYTES) if pool_known(percpu.ref) else cython.NULL
    if chunk == cython.NULL or address % _BYTES:
        return False
    return owner_at(chunk.map, (address - chunk.base) >> PERCPU_SHIFT) & OWNER_MASK == OWNER_STRUCT


def keep(area: Area, /) -> None:
    """The area is a namespace's for good, and not this process's. One swap: it lies in one word of the owner map."""
    chunk: cython.pointer(ChunkRef) = genpool_chunk(area.pool.ref, area.address, area.nbytes)
    status: cython.int
    if area.exports != 0 or chunk == cython.NULL or area.nbytes != _BYTES or area.address % _BYTES:
        raise ValueError(f"{area!r} cannot be kept")
    status = transfer(
        chunk.map,
        chunk.nr_words,
        (area.address - chunk.base) >> PERCPU_SHIFT,
        _GRANULES,
        cython.cast(uint32_t, area.pool.ref.arena.slot[0]),
        OWNER_STRUCT,
    )
    if status != OK:
        raise Corrupt(f"{area!r} is not this process's (status {status})")
    area.exports = VIEWS_FREED


def clear_counts(percpu: PerCpu, address: uint64_t) -> None:
    """Of an area that is kept, for another namespace. Beside those who still count what they ask of the old one, which is lost
    or not."""
    unit: uint64_t
    which: uint64_t
    if not is_kept(percpu, address):
        raise ValueError(f"{address:#x} is no area that is kept")
    for unit in range(percpu.units_ref.nr_units):
        for which in range(4):
            write_once(
                cython.cast(cython.pointer(uint64_t), percpu_ptr(cython.address(percpu.units_ref), address, unit))
                + which,
                0,
                b"spaceindex.clear",
            )
