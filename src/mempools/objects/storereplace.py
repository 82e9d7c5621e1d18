"""L4: an entry of a store that is read, and then replaced or taken out if it is still the key's (index_replace in
pools/hashcommit.py)."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.storereplace is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.objects.storeindex import StoreIndex
from cython.cimports.mempools.parts.status import CORRUPT, EXHAUSTED, NOT_FOUND, OK, OVER_LIMIT, STALE
from cython.cimports.mempools.pools.hashclock import (
    EVICT_LFU,
    TICK_SHIFT,
    clock_now,
    clock_tick,
    entry_age,
    has_expired,
)
from cython.cimports.mempools.pools.hashcommit import index_replace
from cython.cimports.mempools.pools.hashentry import (
    MAX_VALUE,
    SMALL_OBJECT,
    Item,
    entry_close,
    entry_new,
    entry_size,
    entry_walk,
)
from cython.cimports.mempools.pools.hashindex import index_find

from mempools.errors import PoolError

_LARGE = cython.declare(uint64_t, 60000)  # as in storereads.py
_SLICE_NS = cython.declare(uint64_t, 20_000_000)


@cython.final
@cython.no_gc_clear
@cython.cclass
class Held:
    """What `hold` gives: one entry, which stays where it is, and whose handle names nothing else, until it is released, by
    `release`, the end of `with`, or being dropped. It takes one of the process's 511 pins: hold one at a time. In a
    forked child it holds nothing. For one thread."""

    def __init__(self):
        raise TypeError("made by hold()")

    @property
    def codec(self) -> int:
        """The number of its codec."""
        return self.found.codec

    @property
    def nbytes(self) -> int:
        """Bytes of the value, decoded."""
        return self.found.item.nr_logical

    @property
    def nr_stored(self) -> int:
        """Bytes of the value as it is stored."""
        return self.found.item.nr_stored

    @property
    def idle(self) -> float:
        """Seconds since it was put or read last, within eight reads; this is none. PoolError in a store that evicts by "lfu"."""
        if self.index.evict == EVICT_LFU:
            raise PoolError(
                f"store {self.index.name!r} evicts by lfu, and does not know when its values were read last"
            )
        return entry_age(self.found.times, clock_tick()) * (cython.cast(uint64_t, 1) << TICK_SHIFT) * 1e-9

    def read(self):
        """The stored bytes; None if somebody has replaced it meanwhile. Not counted as a read."""
        status: cython.int
        data: bytes
        room: cython.p_char
        if not self.there:
            raise ValueError("a use of an entry that is not held any more")
        if self.found.item.nr_logical > MAX_VALUE:
            self.index.retry(CORRUPT)
        data = PyBytes_FromStringAndSize(cython.NULL, self.found.item.nr_stored)
        room = PyBytes_AS_STRING(data)
        with cython.nogil:
            status = entry_walk(
                self.index.ref,
                self.index.g,
                cython.address(self.found),
                self.found.item.nr_key,
                self.found.item.nr_stored,
                room,
                cython.NULL,
            )
        if status == OK:
            return data
        if status != STALE:
            self.index.retry(status)
        return None

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def make(
        self,
        codec: uint64_t,
        data: cython.p_const_char,
        nr_stored: uint64_t,
        patient: cython.bint,
        item: cython.pointer(Item),
    ) -> cython.int:
        """A new entry: 1, or 0 if there is no room for it. Nothing is evicted for it."""
        index: StoreIndex = self.index
        status: cython.int
        tries: cython.int = 0
        size: uint64_t = entry_size(index.g, self.key.nbytes + nr_stored)
        item.handle = 0
        while True:
            status = EXHAUSTED
            if nr_stored <= _LARGE or index.has_room(nr_stored):
                with cython.nogil:
                    status = entry_new(
                        index.ref,
                        index.g,
                        cython.address(self.key),
                        codec,
                        self.found.item.nr_logical,
                        data,
                        nr_stored,
                        self.found.times,
                        size,
                        item,
                        _SLICE_NS,
                    )
            if status == OK:
                return 1
            index.end_entry(item)
            if status != EXHAUSTED:
                index.retry(status)
                continue
            tries += 1
            if patient and tries == 1 and index.may_call(EXHAUSTED):
                continue
            if patient and tries <= 2 and index.compact() > 0:
                continue
            if size == SMALL_OBJECT or self.key.nbytes + nr_stored <= SMALL_OBJECT:
                return 0
            size = SMALL_OBJECT  # there may be pages, but not side by side

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def commit(self, item: cython.pointer(Item)) -> cython.int:
        """1 if the entry was still the key's, and is no more; else 0, or 2: the store's limit is in the way."""
        index: StoreIndex = self.index
        old: Item
        status: cython.int
        while True:
            with cython.nogil:
                status = index_replace(
                    index.ref,
                    index.g,
                    cython.address(self.key),
                    item,
                    self.found.word,
                    _SLICE_NS,
                    cython.address(old),
                )
            if status == STALE:
                return 0
            if status == OVER_LIMIT:
                return 2
            if status == OK:
                if item != cython.NULL:
                    item.handle = 0
                index.end_entry(cython.address(old))
                return 1
            index.retry(status)

    def replace(self, codec: uint64_t, data, patient: cython.bint):
        """Puts these stored bytes in its place: True; False if it was the key's no more; None if there is no room. `patient`:
        looks for room by compaction, and for what the dead had. It keeps its expiry and the time when it was read."""
        view: Py_buffer
        item: Item
        done: cython.int
        if not self.there:
            raise ValueError("a use of an entry that is not held any more")
        item.handle = 0
        PyObject_GetBuffer(data, cython.address(view), PyBUF_SIMPLE)
        try:
            if not self.make(codec, cython.cast(cython.p_char, view.buf), view.len, patient, cython.address(item)):
                return None
            done = self.commit(cython.address(item))
        finally:
            PyBuffer_Release(cython.address(view))
            self.index.end_entry(cython.address(item))
        return None if done == 2 else done != 0

    def remove(self):
        """Deletes the key: True; False if the entry was the key's no more."""
        if not self.there:
            raise ValueError("a use of an entry that is not held any more")
        return self.commit(cython.NULL) != 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def let_go(self) -> cython.int:
        if self.there:
            self.there = False
            self.index.mapping.export_release()
            # Another registration than at birth: a forked child, where the pin is the parent's.
            if self.registration == self.index.ref.arena.slot[1] and not self.index.ref.gone:
                entry_close(self.index.ref, self.index.g, cython.address(self.found))
        return 0

    def release(self) -> None:
        """Let it go. Nothing if it is not held."""
        self.let_go()

    def __enter__(self):
        return self

    def __exit__(self, kind: object, error: object, traceback: object, /):
        self.let_go()

    def __dealloc__(self):
        if self.there:
            self.let_go()


def hold(index: StoreIndex, name, /):
    """The key's entry; None if there is none, or it has expired. Thread-safe, process-safe; takes no lock."""
    held: Held = Held.__new__(Held)
    status: cython.int
    held.index = index
    held.name = name
    if not index.take_key(cython.address(held.key), name):
        return None
    while True:
        status = index_find(index.ref, index.g, cython.address(held.key), cython.address(held.found))
        if status == OK:
            break
        if status == NOT_FOUND:
            return None
        index.retry(status)
    held.registration = index.ref.arena.slot[1]
    held.there = True
    index.mapping.export_acquire()
    if held.found.item.expiry != 0 and has_expired(held.found.item.expiry, clock_now()):
        held.let_go()
        return None
    return held
