"""L4: a store's index as Python calls it: keys are str or bytes, values are (codec, bytes when decoded, stored bytes).

What runs beside what is in pools/hashindex.py. Here: readers try without the lock, holding the GIL for values up to
_LARGE bytes; whoever must wait for a lock releases the GIL first, and every _SLICE_NS looks whether the holder is dead.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.storeindex is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.chunks import pool_known, pool_update
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import KIND_STORE
from cython.cimports.mempools.machine.atomics import copy, read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.storeindex import PyUnicode_AsUTF8AndSize
from cython.cimports.mempools.parts.status import (
    BUSY,
    CORRUPT,
    EXHAUSTED,
    INTERRUPTED,
    NOT_FOUND,
    NOT_REGISTERED,
    OK,
    TIMED_OUT,
)
from cython.cimports.mempools.pools.genpool import genpool_alloc, genpool_free
from cython.cimports.mempools.pools.hashcommit import index_delete, index_lock, index_put, index_unlock
from cython.cimports.mempools.pools.hashindex import (
    ENTRY_SHIFT,
    KEY_BYTES,
    KEY_RESERVED,
    KEY_STR,
    MAX_KEY,
    MAX_TRIES,
    MAX_VALUE,
    Entry,
    Found,
    Key,
    entry_at,
    entry_fill,
    entry_nbytes,
    entry_size,
    index_choose_codec,
    index_find,
    index_key,
    index_nr_buckets,
    index_root_nbytes,
    index_unchanged,
)
from cython.cimports.mempools.pools.hashscan import IndexStats, index_stats

from mempools.errors import Corrupt, Exhausted
from mempools.objects.reservedkey import ReservedKey

register_module(cython.address(this_module_step))

_LARGE = cython.declare(uint64_t, 65536)  # copies beyond this release the GIL
_SLICE_NS = cython.declare(uint64_t, 20_000_000)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_under_lock(
    pool: cython.pointer(PoolRef),
    key: cython.pointer(Key),
    found: cython.pointer(Found),
    buffer: cython.p_char,
    nbytes: uint64_t,
) -> cython.int:
    """OK and copied if the stored value has exactly nbytes; EXHAUSTED if it has found.nr_stored; else as of index_find."""
    status: cython.int = index_lock(pool, key.stripe, _SLICE_NS)
    if status != OK:
        return status
    status = index_find(pool, key, found)
    if status == OK:
        if found.nr_stored == nbytes and buffer != cython.NULL:
            copy(buffer, found.stored, nbytes, b"storeindex.read")
        else:
            status = EXHAUSTED
    index_unlock(pool, key.stripe)
    return status


@cython.cclass
class StoreIndex(PoolObject):
    """The index of one store. Made by `open_index`."""

    def __init__(self):
        raise TypeError("a StoreIndex is made by Arena.store")

    @property
    def nr_buckets(self) -> int:
        self.check_open()
        return index_nr_buckets(self.ref)

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
    def retry(self, status: cython.int) -> cython.int:
        """Does what a status asks for before another try; raises if there is no point in one."""
        if status != CORRUPT and self.may_retry(status):
            self.check_open()
            return 0
        raise Corrupt(
            f"store {self.name!r}: an entry lies outside the arena, or a chain of entries has no end (status {status}); "
            "check() says more"
        )

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def check_sizes(self, found: cython.pointer(Found)) -> cython.int:
        """What a codec will be asked to make must be what a store can hold."""
        if found.nr_logical > MAX_VALUE:
            raise Corrupt(
                f"store {self.name!r}: the entry at {found.offset:#x} claims a value of {found.nr_logical} bytes, more than "
                f"the {MAX_VALUE} that a store holds"
            )
        return 0

    # ---- the store's own codec

    def choose_codec(self, word, /):
        """The first caller's word; 0 only asks."""
        self.check_open()
        if index_nr_buckets(self.ref) == 0:
            raise Corrupt(f"store {self.name!r} has no index table: something else than a Store made it")
        return index_choose_codec(self.ref, word)

    # ---- readers

    def get(self, key, /):
        """(codec, bytes when decoded, stored bytes), or None."""
        k: Key
        found: Found
        status: cython.int
        tries: cython.int
        data: bytes
        room: cython.p_char
        if not self.take_key(cython.address(k), key):
            return None
        for tries in range(MAX_TRIES):
            status = index_find(self.ref, cython.address(k), cython.address(found))
            if status == NOT_FOUND:
                return None
            if status == CORRUPT:
                self.retry(status)
            if status != OK:
                break
            self.check_sizes(cython.address(found))
            data = PyBytes_FromStringAndSize(cython.NULL, found.nr_stored)
            room = PyBytes_AS_STRING(data)
            if found.nr_stored > _LARGE:
                with cython.nogil:
                    copy(room, found.stored, found.nr_stored, b"storeindex.get")
            else:
                copy(room, found.stored, found.nr_stored, b"storeindex.get")
            if index_unchanged(cython.address(k), cython.address(found)):
                return (found.codec, found.nr_logical, data)
        return self.read_locked(cython.address(k))

    @cython.cfunc
    def read_locked(self, key: cython.pointer(Key)) -> tuple:
        """For a stripe that changes faster than a reader reads."""
        found: Found
        status: cython.int
        data: bytes = b""
        buffer: cython.p_char = cython.NULL
        nbytes: uint64_t = 0
        while True:
            with cython.nogil:
                status = read_under_lock(self.ref, key, cython.address(found), buffer, nbytes)
            if status == OK:
                return (found.codec, found.nr_logical, data)
            if status == NOT_FOUND:
                return None
            if status == EXHAUSTED:
                self.check_sizes(cython.address(found))
                data = PyBytes_FromStringAndSize(cython.NULL, found.nr_stored)
                buffer = PyBytes_AS_STRING(data)
                nbytes = found.nr_stored
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
            while tries < MAX_TRIES:
                tries += 1
                status = index_find(self.ref, cython.address(k), cython.address(found))
                if status != OK or found.codec or found.nr_stored > cython.cast(uint64_t, view.len):
                    break
                if found.nr_stored > _LARGE:
                    with cython.nogil:
                        copy(view.buf, found.stored, found.nr_stored, b"storeindex.into")
                else:
                    copy(view.buf, found.stored, found.nr_stored, b"storeindex.into")
                if index_unchanged(cython.address(k), cython.address(found)):
                    return (0, found.nr_logical, None)
        finally:
            PyBuffer_Release(cython.address(view))
        return self.get(key)

    def contains(self, key, /):
        k: Key
        found: Found
        status: cython.int
        if not self.take_key(cython.address(k), key):
            return False
        status = index_find(self.ref, cython.address(k), cython.address(found))
        while status == BUSY:
            with cython.nogil:
                status = read_under_lock(self.ref, cython.address(k), cython.address(found), cython.NULL, 0)
            if status == TIMED_OUT or status == INTERRUPTED or status == NOT_REGISTERED:
                self.retry(status)
                status = BUSY
        if status == CORRUPT:
            self.retry(status)
        return status != NOT_FOUND

    # ---- writers

    @cython.cfunc
    @cython.exceptval(0, check=False)
    def new_entry(
        self,
        key: cython.pointer(Key),
        codec: uint64_t,
        nr_logical: uint64_t,
        data: cython.p_const_char,
        nr_stored: uint64_t,
    ) -> uint64_t:
        """A filled block of this process's own."""
        offset: uint64_t = 0
        nbytes: uint64_t = entry_nbytes(key.nbytes, nr_stored)
        room: cython.p_char
        status: cython.int = genpool_alloc(self.ref, cython.address(self.hint), nbytes, cython.address(offset))
        while status != OK:
            if not self.may_retry(status):
                raise Exhausted(
                    f"store {self.name!r}: no room for an entry of {nbytes} bytes; it takes {self.taken()} of "
                    f"{self.capacity()} bytes, and the arena has {self.free_pages() * 4096} free, maybe in smaller pieces: "
                    "delete something, or make the store or the arena larger"
                )
            status = genpool_alloc(self.ref, cython.address(self.hint), nbytes, cython.address(offset))
        room = entry_fill(self.ref, offset, key, codec, nr_stored, nr_logical)
        if nr_stored > _LARGE:
            with cython.nogil:
                copy(room, data, nr_stored, b"storeindex.fill")
        else:
            copy(room, data, nr_stored, b"storeindex.fill")
        return offset

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put_entry(
        self, key: cython.pointer(Key), entry: uint64_t, only_if_absent: cython.bint, large: cython.bint
    ) -> cython.int:
        """1 if the entry is in, 0 if only_if_absent and there was one."""
        old: uint64_t = 0
        status: cython.int = TIMED_OUT
        if not large:
            status = index_put(self.ref, key, entry, only_if_absent, 0, cython.address(old))
        while status != OK:
            if status == BUSY:
                return 0
            if status != TIMED_OUT:
                self.retry(status)
            with cython.nogil:
                status = index_put(self.ref, key, entry, only_if_absent, _SLICE_NS, cython.address(old))
            if status == TIMED_OUT:
                self.retry(status)
        if old:
            self.free_entry(old)
        return 1

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def free_entry(self, offset: uint64_t) -> cython.int:
        nbytes: uint64_t = 0
        status: cython.int = entry_size(self.ref, offset, cython.address(nbytes))
        if status == OK and nbytes > _LARGE:
            with cython.nogil:
                status = genpool_free(self.ref, offset, nbytes)
        elif status == OK:
            status = genpool_free(self.ref, offset, nbytes)
        if status != OK:
            self.fail(status, offset, nbytes)
        return 0

    def put(self, key, codec: uint64_t, nr_logical: uint64_t, data, only_if_absent: cython.bint = False):
        """True if it is in, False if only_if_absent and there was one. Exhausted: nothing was changed."""
        k: Key
        view: Py_buffer
        entry: uint64_t
        done: cython.int = 0
        if not self.take_key(cython.address(k), key):
            raise ValueError(f"a store's keys have up to {MAX_KEY} bytes, not {len(key)}")
        PyObject_GetBuffer(data, cython.address(view), PyBUF_SIMPLE)
        try:
            if cython.cast(uint64_t, view.len) > MAX_VALUE or nr_logical > MAX_VALUE:
                raise ValueError(f"a store's values have up to {MAX_VALUE} bytes, not {max(view.len, nr_logical)}")
            entry = self.new_entry(cython.address(k), codec, nr_logical, cython.cast(cython.p_char, view.buf), view.len)
            try:
                done = self.put_entry(
                    cython.address(k), entry, only_if_absent, cython.cast(uint64_t, view.len) > _LARGE
                )
            finally:
                if not done:
                    self.free_entry(entry)
        finally:
            PyBuffer_Release(cython.address(view))
        return done != 0

    @cython.cfunc
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def take_out(self, key: cython.pointer(Key)) -> uint64_t:
        """The key's entry as this process's own block, 0 if there is none."""
        old: uint64_t = 0
        status: cython.int = index_delete(self.ref, key, 0, cython.address(old))
        while status != OK:
            if status == NOT_FOUND:
                return 0
            if status != TIMED_OUT:
                self.retry(status)
            with cython.nogil:
                status = index_delete(self.ref, key, _SLICE_NS, cython.address(old))
            if status == TIMED_OUT:
                self.retry(status)
        return old

    def delete(self, key, /):
        """True if there was one."""
        k: Key
        old: uint64_t
        if not self.take_key(cython.address(k), key):
            return False
        old = self.take_out(cython.address(k))
        if old:
            self.free_entry(old)
        return old != 0

    def pop(self, key, /):
        """Deletes; what `get` would have returned: one step for all others."""
        k: Key
        old: uint64_t
        nr_key: uint64_t = 0
        nr_stored: uint64_t = 0
        entry: cython.pointer(Entry)
        if not self.take_key(cython.address(k), key):
            return None
        old = self.take_out(cython.address(k))
        if not old:
            return None
        try:
            entry = entry_at(self.ref, old, cython.address(nr_key), cython.address(nr_stored))
            return (
                read_once(cython.address(entry.what), b"storeindex.pop") >> 32 & 0xFF,
                read_once(cython.address(entry.sizes), b"storeindex.pop") >> 32,
                PyBytes_FromStringAndSize(cython.cast(cython.p_char, entry) + entry_nbytes(nr_key, 0), nr_stored),
            )
        finally:
            self.free_entry(old)

    @cython.cfunc
    @cython.exceptval(check=False)
    def taken(self) -> uint64_t:
        stats: IndexStats
        index_stats(self.ref, cython.address(stats))
        return stats.taken

    @cython.cfunc
    @cython.exceptval(check=False)
    def capacity(self) -> uint64_t:
        pool_update(self.ref)
        total: uint64_t = 0
        i: uint64_t
        for i in range(pool_known(self.ref)):
            total += self.ref.chunks[i].nr << self.ref.shift
        return total


def open_index(arena, mapping: Mapping, name: str, limit, nr_buckets, create: cython.bint):
    """The store of that name: made if `create` and there is none. A `limit` of 0 takes the one that is there."""
    index: StoreIndex = StoreIndex.__new__(StoreIndex)
    index.open_ref(mapping, name, KIND_STORE, ENTRY_SHIFT, limit, 0, index_root_nbytes(nr_buckets), 0, create)
    index.arena = arena
    return index
