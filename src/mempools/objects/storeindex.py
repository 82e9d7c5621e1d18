"""L4: a store's index as Python calls it: keys are str or bytes, values are (codec, bytes when decoded, stored bytes).

What runs beside what is in pools/hashindex.py. No codec runs here; whoever must wait for a lock releases the GIL first, and
every _SLICE_NS looks whether the holder is dead. What reads is in storereads.py, what evicts in storelimit.py.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.storeindex is compiled code: run `make build` in a checkout, or install the wheel"
    )

import os
import weakref

from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.structs import KIND_STORE
from cython.cimports.mempools.machine.atomics import this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.storereads import StoreReads, read_value
from cython.cimports.mempools.parts.status import BUSY, EXHAUSTED, MISMATCH, NOT_FOUND, OK, OVER_LIMIT, TIMED_OUT
from cython.cimports.mempools.pools.hashclock import clock_now, clock_tick, has_expired, times_new
from cython.cimports.mempools.pools.hashcommit import index_delete, index_put
from cython.cimports.mempools.pools.hashentry import (
    KEY_RESERVED,
    MAX_KEY,
    MAX_VALUE,
    Found,
    Item,
    Key,
    entry_close,
    entry_open,
)
from cython.cimports.mempools.pools.hashlimit import index_bytes, index_limit
from cython.cimports.mempools.pools.hashmend import index_forked
from cython.cimports.mempools.pools.hashsplit import index_is_crowded, index_split
from cython.cimports.mempools.pools.hashtable import index_choose_codec, index_root_nbytes, store_chain
from cython.cimports.mempools.pools.zstable import ZS_SHIFT, zs_geometry, zs_make

from mempools.errors import Corrupt, Exhausted

register_module(cython.address(this_module_step))

_LARGE = cython.declare(uint64_t, 60000)  # as in storereads.py
_SLICE_NS = cython.declare(uint64_t, 20_000_000)
_indexes = weakref.WeakSet()


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def is_over(item: cython.pointer(Item)) -> cython.bint:
    """Has an entry that was taken out expired?"""
    return item.expiry != 0 and has_expired(item.expiry, clock_now())


@cython.cclass
class StoreIndex(StoreReads):
    """The index of one store. Made by `open_index`."""

    def __init__(self):
        raise TypeError("a StoreIndex is made by Arena.store")

    # ---- the store's own codec

    def choose_codec(self, word, /):
        """The first caller's word; 0 only asks."""
        chosen: uint64_t = 0
        self.check_open()
        if index_choose_codec(self.ref, word, cython.address(chosen)) != OK:
            raise Corrupt(f"store {self.name!r} has no index table: something else than a Store made it")
        return chosen

    # ---- writers

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put_entry(
        self, key: cython.pointer(Key), item: cython.pointer(Item), only_if_absent: cython.bint, large: cython.bint
    ) -> cython.int:
        """1 if the entry is in, 0 if only_if_absent and there was one."""
        old: Item
        tries: cython.int = 0
        waits: cython.int = 0
        now: uint64_t = clock_now() if only_if_absent else 0
        status: cython.int = TIMED_OUT
        if not large:
            status = index_put(self.ref, self.g, key, item, only_if_absent, now, 0, cython.address(old))
        while status != OK:
            if status == BUSY:
                return 0
            if status == EXHAUSTED:
                tries += 1
                if not self.may_have_room(tries, 4096):
                    raise Exhausted(
                        f"store {self.name!r}: no room for its index to grow: delete something, or make the store or the "
                        "arena larger"
                    )
            elif status == OVER_LIMIT:
                waits += 1
                if not self.may_be_short(old.nr_stored, waits):
                    self.raise_full(item.nr_stored)
            elif status != TIMED_OUT:
                self.retry(status)
            with cython.nogil:
                status = index_put(self.ref, self.g, key, item, only_if_absent, now, _SLICE_NS, cython.address(old))
            if status == TIMED_OUT:
                self.retry(status)
        item.handle = 0
        if old.handle:
            self.end_entry(cython.address(old))
        elif index_is_crowded(self.ref, key.stripe):
            with cython.nogil:
                index_split(self.ref, self.g)  # if it cannot be done now, the next one does it
        return 1

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def raise_full(self, nr_stored: uint64_t) -> cython.int:
        limit: uint64_t = index_limit(self.ref)
        if nr_stored > limit:
            raise Exhausted(
                f"store {self.name!r}: a value of {nr_stored} bytes, as stored, is larger than the store's limit of {limit} bytes"
            )
        raise Exhausted(
            f"store {self.name!r}: a value of {nr_stored} bytes, as stored, has no room: the store has {index_bytes(self.ref)} "
            f"of the {limit} bytes that are its limit, and nothing that may be evicted: delete something"
        )

    def put(self, key, codec: uint64_t, nr_logical: uint64_t, data, only_if_absent: cython.bint = False, ttl=None):
        """True if it is in, False if only_if_absent and there was one. It lives for `ttl` seconds, None: as this object's puts.
        Exhausted: nothing was changed."""
        k: Key
        view: Py_buffer
        item: Item
        done: cython.int
        limit: uint64_t
        expiry: uint64_t = 0
        if not self.take_key(cython.address(k), key):
            raise ValueError(f"a store's keys have up to {MAX_KEY} bytes, not {len(key)}")
        PyObject_GetBuffer(data, cython.address(view), PyBUF_SIMPLE)
        item.handle = 0
        try:
            if cython.cast(uint64_t, view.len) > MAX_VALUE or nr_logical > MAX_VALUE:
                raise ValueError(f"a store's values have up to {MAX_VALUE} bytes, not {max(view.len, nr_logical)}")
            if k.kind != KEY_RESERVED:
                limit = index_limit(self.ref)
                if limit and cython.cast(uint64_t, view.len) > limit:
                    self.raise_full(view.len)
                if ttl is not None or self.seconds != 0:
                    expiry = self.expiry_for(ttl)
            self.new_entry(
                cython.address(k),
                codec,
                nr_logical,
                cython.cast(cython.p_char, view.buf),
                view.len,
                times_new(self.evict, expiry, clock_tick()),
                cython.address(item),
            )
            done = self.put_entry(
                cython.address(k), cython.address(item), only_if_absent, cython.cast(uint64_t, view.len) > _LARGE
            )
        finally:
            PyBuffer_Release(cython.address(view))
            self.end_entry(cython.address(item))
        return done != 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_out(self, key: cython.pointer(Key), old: cython.pointer(Item)) -> cython.int:
        """The key's entry as this process's own, with the handle 0 if there is none."""
        status: cython.int = index_delete(self.ref, self.g, key, 0, old)
        while status != OK:
            if status == NOT_FOUND:
                break
            if status != TIMED_OUT:
                self.retry(status)
            with cython.nogil:
                status = index_delete(self.ref, self.g, key, _SLICE_NS, old)
            if status == TIMED_OUT:
                self.retry(status)
        return 0

    def delete(self, key, /):
        """True if there was one."""
        k: Key
        old: Item
        if not self.take_key(cython.address(k), key):
            return False
        self.take_out(cython.address(k), cython.address(old))
        if old.handle == 0:
            return False
        self.end_entry(cython.address(old))
        return not is_over(cython.address(old))

    def pop(self, key, /):
        """Deletes; what `get` would have returned: one step for all others."""
        k: Key
        old: Item
        found: Found
        status: cython.int
        room: cython.p_char
        if not self.take_key(cython.address(k), key):
            return None
        self.take_out(cython.address(k), cython.address(old))
        if old.handle == 0:
            return None
        try:
            while not is_over(cython.address(old)):
                status = entry_open(self.ref, self.g, old.handle, cython.address(found))
                if status == OK:
                    data: bytes = b""
                    try:
                        self.check_sizes(cython.address(found.item))
                        data = PyBytes_FromStringAndSize(cython.NULL, found.item.nr_stored)
                    except BaseException:
                        entry_close(self.ref, self.g, cython.address(found))
                        raise
                    room = PyBytes_AS_STRING(data)
                    with cython.nogil:
                        status = read_value(self.ref, self.g, cython.address(found), room)
                if status == OK:
                    return (found.codec, found.item.nr_logical, data)
                self.retry(status)
            return None
        finally:
            self.end_entry(cython.address(old))


def _forked() -> None:
    for index in list(_indexes):
        forked(index)


@cython.cfunc
@cython.exceptval(-1, check=False)
def forked(index: StoreIndex) -> cython.int:
    if index.mapping.fd < 0 and not index.ref.gone and not index.mapping.closed:
        index_forked(index.ref)
    return 0


os.register_at_fork(after_in_child=_forked)


def open_index(arena, mapping: Mapping, name: str, limit, create: cython.bint):
    """The store of that name: made if `create` and there is none. A `limit` of 0 takes the one that is there."""
    index: StoreIndex = StoreIndex.__new__(StoreIndex)
    chain: uint64_t = store_chain(limit if limit else mapping.nbytes)
    index.open_ref(mapping, name, KIND_STORE, ZS_SHIFT, limit, 0, index_root_nbytes(chain), 0, create)
    index.arena = arena
    if zs_make(index.ref, store_chain(index.ref.limit if index.ref.limit else mapping.nbytes)) == MISMATCH:
        raise Corrupt(f"store {name!r}: its root makes no sense")
    index.g = zs_geometry(index.ref)
    if index.g == cython.NULL:
        raise Corrupt(f"store {name!r}: its root makes no sense")
    _indexes.add(index)
    return index
