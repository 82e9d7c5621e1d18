"""L4: a store's entries as Python makes them: room for them, and the errors when there is none.

What runs beside what is in pools/hashentry.py and pools/hashindex.py."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.storeentries is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.chunks import pool_known, pool_update
from cython.cimports.mempools.layout.offline import chunk_nr
from cython.cimports.mempools.machine.atomics import this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.storelimit import StoreLimit
from cython.cimports.mempools.parts.ownermap import count_owner
from cython.cimports.mempools.parts.status import EXHAUSTED, OK
from cython.cimports.mempools.pools.hashentry import LARGE_OBJECT, SMALL_OBJECT, Item, Key, entry_new, entry_size
from cython.cimports.mempools.pools.hashscan import SCAN_END
from cython.cimports.mempools.pools.hashtable import index_nr_buckets
from cython.cimports.mempools.pools.zsgeometry import class_of
from cython.cimports.mempools.pools.zsrehome import Rehoming
from cython.cimports.mempools.pools.zstable import ZS_SHIFT

from mempools.errors import Exhausted

register_module(cython.address(this_module_step))

_LARGE = cython.declare(uint64_t, 60000)  # as in storeindex.py
_ROUNDS = cython.declare(cython.int, 12)  # of evictions for one put
_SLICE_NS = cython.declare(uint64_t, 20_000_000)


@cython.cclass
class StoreEntries(StoreLimit):
    """Base of StoreIndex."""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def has_room(self, nbytes: uint64_t) -> cython.bint:
        """Is there enough for a large value, in all? Else its first parts would make the pool take from the arena in vain."""
        i: uint64_t
        pages: uint64_t = self.free_pages() if self.ref.limit == 0 else 0
        pool_update(self.ref)
        for i in range(pool_known(self.ref)):
            pages += count_owner(self.ref.chunks[i].map, self.ref.chunks[i].summary, self.ref.chunks[i].nr_words, 0)
        return pages << ZS_SHIFT >= nbytes

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def may_have_room(self, tries: cython.int, nbytes: uint64_t) -> cython.bint:
        """After the first failure: what the dead and empty zspages had; after the second: what compaction gives. Then entries
        go, if they may, more each time. Then it is over, for what the failing call itself gives back would make for another
        try without end."""
        if tries < 3 and (
            (tries == 1 and self.may_call(EXHAUSTED)) or self.compact_pages(~cython.cast(uint64_t, 0), False) > 0
        ):
            return True
        if tries > _ROUNDS or self.make_room((nbytes + 4096) << tries) == 0:
            return False
        self.compact_pages(~cython.cast(uint64_t, 0), False)
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def note_fixed(self, state: cython.pointer(Rehoming)) -> cython.void:
        """Objects with parts behind them: see pools/hashentry.py."""
        size: uint64_t
        c: uint64_t
        for size in (SMALL_OBJECT, LARGE_OBJECT):
            c = class_of(self.g, size)
            state.fixed[c >> 6] |= cython.cast(uint64_t, 1) << (c & 63)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def new_entry(
        self,
        key: cython.pointer(Key),
        codec: uint64_t,
        nr_logical: uint64_t,
        data: cython.p_const_char,
        nr_stored: uint64_t,
        times: uint64_t,
        item: cython.pointer(Item),
    ) -> cython.int:
        """A filled entry of this process's own."""
        status: cython.int
        tries: cython.int = 0
        size: uint64_t = entry_size(self.g, key.nbytes + nr_stored)
        item.handle = 0
        while True:
            if nr_stored > _LARGE and not self.has_room(nr_stored):
                status = EXHAUSTED
            elif nr_stored > _LARGE:
                with cython.nogil:
                    status = entry_new(
                        self.ref, self.g, key, codec, nr_logical, data, nr_stored, times, size, item, _SLICE_NS
                    )
            else:
                status = entry_new(
                    self.ref, self.g, key, codec, nr_logical, data, nr_stored, times, size, item, _SLICE_NS
                )
            if status == OK:
                return 0
            self.end_entry(item)
            if status == EXHAUSTED:
                tries += 1
                if not self.may_have_room(tries, key.nbytes + nr_stored) and size == SMALL_OBJECT:
                    break
                size = SMALL_OBJECT  # there may be pages, but not side by side
            else:
                self.retry(status)
        raise Exhausted(
            f"store {self.name!r}: no room for an entry of {key.nbytes + nr_stored} bytes; its pool has {self.capacity()} "
            f"bytes, and the arena has {self.free_pages() * 4096} free, maybe in smaller pieces: delete something, or make the "
            "store or the arena larger"
        )

    @property
    def nr_buckets(self) -> int:
        """Buckets of seven keys now; more of them as keys come."""
        self.check_open()
        return index_nr_buckets(self.ref)

    @property
    def scan_end(self) -> int:
        """The cursor of a scan that is over; it begins with 0."""
        return cython.cast(uint64_t, SCAN_END)

    @cython.cfunc
    @cython.exceptval(check=False)
    def capacity(self) -> uint64_t:
        pool_update(self.ref)
        total: uint64_t = 0
        i: uint64_t
        for i in range(pool_known(self.ref)):
            total += chunk_nr(self.ref, i) << self.ref.shift
        return total
