"""L4: a store's index as Python calls it: keys are str or bytes, values are (codec, bytes when decoded, stored bytes).

What runs beside what is in pools/hashindex.py. Here: readers hold the GIL for values up to _LARGE bytes, and their pin for
the copy alone, for no codec runs here; whoever must wait for a lock releases the GIL first, and every _SLICE_NS looks whether
the holder is dead.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.storeindex is compiled code: run `make build` in a checkout, or install the wheel"
    )

import os
import weakref

from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import KIND_STORE
from cython.cimports.mempools.machine.atomics import this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.spacekey import SpacedKey
from cython.cimports.mempools.objects.storeentries import StoreEntries
from cython.cimports.mempools.objects.storeindex import PyUnicode_AsUTF8AndSize
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, EXHAUSTED, MISMATCH, NOT_FOUND, OK, STALE, TIMED_OUT
from cython.cimports.mempools.pools.hashcommit import index_delete, index_lock, index_put, index_unlock
from cython.cimports.mempools.pools.hashentry import (
    KEY_BYTES,
    KEY_RESERVED,
    KEY_STR,
    MAX_KEY,
    MAX_VALUE,
    Found,
    Item,
    Key,
    entry_close,
    entry_open,
    entry_walk,
)
from cython.cimports.mempools.pools.hashindex import index_find, index_key
from cython.cimports.mempools.pools.hashmend import index_forked
from cython.cimports.mempools.pools.hashsplit import index_is_crowded, index_split
from cython.cimports.mempools.pools.hashtable import STORE_CHAIN, index_choose_codec, index_root_nbytes
from cython.cimports.mempools.pools.zsgeometry import Geometry
from cython.cimports.mempools.pools.zstable import ZS_SHIFT, zs_geometry, zs_make

from mempools.errors import Corrupt, Exhausted
from mempools.objects.reservedkey import ReservedKey

register_module(cython.address(this_module_step))

_LARGE = cython.declare(uint64_t, 60000)  # copies beyond this, among them all of values in parts, release the GIL
_SLICE_NS = cython.declare(uint64_t, 20_000_000)
_MAX_TRIES = cython.declare(
    cython.int, 16
)  # of a value whose parts end while it is read; then the reader takes the lock
_indexes = weakref.WeakSet()


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def read_value(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), found: cython.pointer(Found), buffer: cython.p_char
) -> cython.int:
    """The stored value of an open entry, which is closed: as of entry_walk."""
    status: cython.int = entry_walk(pool, g, found, found.item.nr_key, found.item.nr_stored, buffer, cython.NULL)
    entry_close(pool, g, found)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_under_lock(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    key: cython.pointer(Key),
    found: cython.pointer(Found),
    buffer: cython.p_char,
    nbytes: uint64_t,
) -> cython.int:
    """OK and copied if the stored value has exactly nbytes; EXHAUSTED if it has found.item.nr_stored; else as of index_find."""
    status: cython.int = index_lock(pool, key.stripe, _SLICE_NS)
    if status != OK:
        return status
    status = index_find(pool, g, key, found)
    if status == OK:
        if found.item.nr_stored == nbytes and buffer != cython.NULL:
            status = read_value(pool, g, found, buffer)
        else:
            entry_close(pool, g, found)
            status = EXHAUSTED
    index_unlock(pool, key.stripe)
    return status


@cython.cclass
class StoreIndex(StoreEntries):
    """The index of one store. Made by `open_index`."""

    def __init__(self):
        raise TypeError("a StoreIndex is made by Arena.store")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_key(self, key: cython.pointer(Key), name: object) -> cython.bint:
        """Fills `key`, which lives as long as `name`; False for a key that no store can hold."""
        size: cython.Py_ssize_t = 0
        data: cython.p_const_char
        status: cython.int
        if self.mapping.closed or self.ref.gone:
            self.check_open()
        if isinstance(name, str):
            data = PyUnicode_AsUTF8AndSize(name, cython.address(size))
            status = index_key(self.ref, key, data, size, KEY_STR)
        elif isinstance(name, bytes):
            status = index_key(self.ref, key, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), KEY_BYTES)
        elif isinstance(name, SpacedKey):
            spaced: SpacedKey = name
            status = index_key(self.ref, key, spaced.data, spaced.nbytes, spaced.kind)
        elif isinstance(name, ReservedKey):
            raw: bytes = name.raw  # lives as long as `name`, which keeps it
            status = index_key(self.ref, key, PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw), KEY_RESERVED)
        else:
            raise TypeError(f"a store's keys are str or bytes, not {type(name).__name__}")
        if status == CORRUPT:
            raise Corrupt(f"store {self.name!r} has no index table: something else than a Store made it")
        return status == OK

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def check_sizes(self, item: cython.pointer(Item)) -> cython.int:
        """What a codec will be asked to make must be what a store can hold."""
        if item.nr_logical > MAX_VALUE:
            raise Corrupt(
                f"store {self.name!r}: the entry {item.handle:#x} claims a value of {item.nr_logical} bytes, more than "
                f"the {MAX_VALUE} that a store holds"
            )
        return 0

    # ---- the store's own codec

    def choose_codec(self, word, /):
        """The first caller's word; 0 only asks."""
        chosen: uint64_t = 0
        self.check_open()
        if index_choose_codec(self.ref, word, cython.address(chosen)) != OK:
            raise Corrupt(f"store {self.name!r} has no index table: something else than a Store made it")
        return chosen

    # ---- readers

    def get(self, key, /):
        """(codec, bytes when decoded, stored bytes), or None."""
        return self.look_up(key)

    @cython.cfunc
    def look_up(self, key: object) -> tuple:
        """`get`, for those who call from C."""
        k: Key
        found: Found
        status: cython.int
        tries: cython.int = 0
        data: bytes
        room: cython.p_char
        if not self.take_key(cython.address(k), key):
            return None
        while tries < _MAX_TRIES:
            status = index_find(self.ref, self.g, cython.address(k), cython.address(found))
            if status == NOT_FOUND:
                return None
            if status != OK:
                self.retry(status)
                continue
            try:
                self.check_sizes(cython.address(found.item))
                data = PyBytes_FromStringAndSize(cython.NULL, found.item.nr_stored)
            except BaseException:
                entry_close(self.ref, self.g, cython.address(found))
                raise
            room = PyBytes_AS_STRING(data)
            if found.item.nr_stored > _LARGE:
                with cython.nogil:
                    status = read_value(self.ref, self.g, cython.address(found), room)
            else:
                status = read_value(self.ref, self.g, cython.address(found), room)
            if status == OK:
                return (found.codec, found.item.nr_logical, data)
            if status != STALE:
                self.retry(status)
            tries += 1
        return self.read_locked(cython.address(k))

    @cython.cfunc
    def read_locked(self, key: cython.pointer(Key)) -> tuple:
        """For a value in parts that changes faster than a reader reads."""
        found: Found
        status: cython.int
        data: bytes = b""
        buffer: cython.p_char = cython.NULL
        nbytes: uint64_t = 0
        while True:
            with cython.nogil:
                status = read_under_lock(self.ref, self.g, key, cython.address(found), buffer, nbytes)
            if status == OK:
                return (found.codec, found.item.nr_logical, data)
            if status == NOT_FOUND:
                return None
            if status == EXHAUSTED:
                self.check_sizes(cython.address(found.item))
                data = PyBytes_FromStringAndSize(cython.NULL, found.item.nr_stored)
                buffer = PyBytes_AS_STRING(data)
                nbytes = found.item.nr_stored
            else:
                self.retry(status)

    def get_raw_into(self, key, buffer, /):
        """As get, but a value that is stored as it is goes straight into `buffer` if it fits (the bytes are None then).
        While others replace the value, the buffer may hold garbage until this returns."""
        k: Key
        found: Found
        view: Py_buffer
        status: cython.int
        tries: cython.int = 0
        if not self.take_key(cython.address(k), key):
            return None
        PyObject_GetBuffer(buffer, cython.address(view), PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            while tries < _MAX_TRIES:
                tries += 1
                status = index_find(self.ref, self.g, cython.address(k), cython.address(found))
                if status != OK:
                    break
                if found.codec or found.item.nr_stored > cython.cast(uint64_t, view.len):
                    entry_close(self.ref, self.g, cython.address(found))
                    break
                if found.item.nr_stored > _LARGE:
                    with cython.nogil:
                        status = read_value(
                            self.ref, self.g, cython.address(found), cython.cast(cython.p_char, view.buf)
                        )
                else:
                    status = read_value(self.ref, self.g, cython.address(found), cython.cast(cython.p_char, view.buf))
                if status == OK:
                    return (0, found.item.nr_logical, None)
        finally:
            PyBuffer_Release(cython.address(view))
        return self.get(key)

    def contains(self, key, /):
        k: Key
        found: Found
        status: cython.int
        if not self.take_key(cython.address(k), key):
            return False
        while True:
            status = index_find(self.ref, self.g, cython.address(k), cython.address(found))
            if status == OK:
                entry_close(self.ref, self.g, cython.address(found))
                return True
            if status == NOT_FOUND:
                return False
            self.retry(status)

    # ---- writers

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put_entry(
        self, key: cython.pointer(Key), item: cython.pointer(Item), only_if_absent: cython.bint, large: cython.bint
    ) -> cython.int:
        """1 if the entry is in, 0 if only_if_absent and there was one."""
        old: Item
        tries: cython.int = 0
        status: cython.int = TIMED_OUT
        if not large:
            status = index_put(self.ref, self.g, key, item, only_if_absent, 0, cython.address(old))
        while status != OK:
            if status == BUSY:
                return 0
            if status == EXHAUSTED:
                tries += 1
                if not self.may_have_room(tries):
                    raise Exhausted(
                        f"store {self.name!r}: no room for its index to grow: delete something, or make the store or the "
                        "arena larger"
                    )
            elif status != TIMED_OUT:
                self.retry(status)
            with cython.nogil:
                status = index_put(self.ref, self.g, key, item, only_if_absent, _SLICE_NS, cython.address(old))
            if status == TIMED_OUT:
                self.retry(status)
        item.handle = 0
        if old.handle:
            self.end_entry(cython.address(old))
        elif index_is_crowded(self.ref, key.stripe):
            with cython.nogil:
                index_split(self.ref, self.g)  # if it cannot be done now, the next one does it
        return 1

    def put(self, key, codec: uint64_t, nr_logical: uint64_t, data, only_if_absent: cython.bint = False):
        """True if it is in, False if only_if_absent and there was one. Exhausted: nothing was changed."""
        k: Key
        view: Py_buffer
        item: Item
        done: cython.int
        if not self.take_key(cython.address(k), key):
            raise ValueError(f"a store's keys have up to {MAX_KEY} bytes, not {len(key)}")
        PyObject_GetBuffer(data, cython.address(view), PyBUF_SIMPLE)
        item.handle = 0
        try:
            if cython.cast(uint64_t, view.len) > MAX_VALUE or nr_logical > MAX_VALUE:
                raise ValueError(f"a store's values have up to {MAX_VALUE} bytes, not {max(view.len, nr_logical)}")
            self.new_entry(
                cython.address(k),
                codec,
                nr_logical,
                cython.cast(cython.p_char, view.buf),
                view.len,
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
        return True

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
            while True:
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
    index.open_ref(mapping, name, KIND_STORE, ZS_SHIFT, limit, 0, index_root_nbytes(), 0, create)
    index.arena = arena
    if zs_make(index.ref, STORE_CHAIN) == MISMATCH:
        raise Corrupt(f"store {name!r}: its root makes no sense")
    index.g = zs_geometry(index.ref)
    if index.g == cython.NULL:
        raise Corrupt(f"store {name!r}: its root makes no sense")
    _indexes.add(index)
    return index
