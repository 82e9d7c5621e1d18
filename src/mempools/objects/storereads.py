"""L4: what reads a store's index, as Python calls it (see storeindex.py first).

Readers hold the GIL for values up to _LARGE bytes, and their pin for the copy alone. An entry that has expired is none; the
exact clock is read only for those that can expire."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.storereads is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.filled import Room, fill_from, fill_room, room_of
from cython.cimports.mempools.objects.spacekey import SpacedKey
from cython.cimports.mempools.objects.storeentries import StoreEntries
from cython.cimports.mempools.objects.storereads import PyUnicode_AsUTF8AndSize
from cython.cimports.mempools.parts.status import CORRUPT, EXHAUSTED, NOT_FOUND, OK, STALE, TIMED_OUT
from cython.cimports.mempools.pools.hashclock import clock_now, has_expired, seconds_left
from cython.cimports.mempools.pools.hashcommit import index_expire_at, index_lock, index_unlock
from cython.cimports.mempools.pools.hashentry import (
    KEY_BYTES,
    KEY_RESERVED,
    KEY_STR,
    MAX_VALUE,
    Found,
    Item,
    Key,
    entry_close,
    entry_walk,
)
from cython.cimports.mempools.pools.hashindex import index_find, index_key
from cython.cimports.mempools.pools.zsgeometry import Geometry

from mempools.errors import Corrupt
from mempools.objects.reservedkey import ReservedKey

register_module(cython.address(this_module_step))

_LARGE = cython.declare(uint64_t, 60000)  # copies beyond this, among them all of values in parts, release the GIL
_SLICE_NS = cython.declare(uint64_t, 20_000_000)
_MAX_TRIES = cython.declare(
    cython.int, 16
)  # of a value whose parts end while it is read; then the reader takes the lock


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def gone(found: cython.pointer(Found)) -> cython.bint:
    """Has an open entry expired?"""
    return found.item.expiry != 0 and has_expired(found.item.expiry, clock_now())


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
    if status == OK and gone(found):
        entry_close(pool, g, found)
        status = NOT_FOUND
    if status == OK:
        if found.item.nr_stored == nbytes and buffer != cython.NULL:
            status = read_value(pool, g, found, buffer)
        else:
            entry_close(pool, g, found)
            status = EXHAUSTED
    index_unlock(pool, key.stripe)
    return status


@cython.cclass
class StoreReads(StoreEntries):
    """Base of StoreIndex."""

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

    # ---- readers

    def get(self, key, /):
        """(codec, bytes when decoded, stored bytes), or None."""
        k: Key
        if not self.take_key(cython.address(k), key):
            return None
        return self.find_value(cython.address(k), cython.NULL)

    def get_filled(self, key, number: uint32_t, fill, /):
        """As get; but of a value that lies in one piece, and that the codec `number` has stored, the value that `fill(stored,
        buffer, bytes when decoded)` makes of it where it lies (objects/filled.py). What `fill` cannot read is returned as by
        get."""
        k: Key
        found: Found
        status: cython.int
        value: object
        if not self.take_key(cython.address(k), key):
            return None
        if fill is None:
            return self.find_value(cython.address(k), cython.NULL)
        status = index_find(self.ref, self.g, cython.address(k), cython.address(found))
        if status == NOT_FOUND:
            return None
        if status != OK:
            return self.find_value(cython.address(k), cython.NULL)
        if gone(cython.address(found)):
            entry_close(self.ref, self.g, cython.address(found))
            return None
        if found.codec != number or found.next or found.item.nr_logical > MAX_VALUE:
            value = self.copy_found(cython.address(found), cython.NULL)
            return self.find_value(cython.address(k), cython.NULL) if value is None else value
        self.read_found(cython.address(found))
        try:
            return self.fill_found(cython.address(found), fill, None, cython.NULL)
        except Exception:
            return self.find_value(cython.address(k), cython.NULL)

    @cython.cfunc
    def fill_found(self, found: cython.pointer(Found), fill: object, made: bytes, buffer: cython.p_char) -> bytes:
        """The value of an open entry in one piece, which is closed: as bytes, or in a buffer, where `made` is b""."""
        source: Room = None
        try:
            source = room_of(None, cython.cast(cython.p_char, found.bytes + found.item.nr_key), found.item.nr_stored)
            if buffer == cython.NULL:
                return fill_from(fill, source, found.item.nr_logical)
            return fill_room(fill, source, room_of(made, buffer, found.item.nr_logical))
        finally:
            # A view that is kept keeps the entry: nobody else may have its place.
            if source is None or source.nr_views == 0:
                entry_close(self.ref, self.g, found)

    def get_timed(self, key, /):
        """The same with the seconds that the entry has left to live, None: for ever. This is not counted as a read."""
        k: Key
        expiry: uint64_t = 0
        found: tuple
        if not self.take_key(cython.address(k), key):
            return None
        found = self.find_value(cython.address(k), cython.address(expiry))
        if found is None:
            return None
        return (*found, seconds_left(expiry) if expiry else None)

    @cython.cfunc
    def find_value(self, key: cython.pointer(Key), expiry: cython.pointer(uint64_t)) -> tuple:
        found: Found
        status: cython.int
        tries: cython.int = 0
        while tries < _MAX_TRIES:
            status = index_find(self.ref, self.g, key, cython.address(found))
            if status == NOT_FOUND:
                return None
            if status != OK:
                self.retry(status)
                continue
            if gone(cython.address(found)):
                entry_close(self.ref, self.g, cython.address(found))
                return None
            value: tuple = self.copy_found(cython.address(found), expiry)
            if value is not None:
                return value
            tries += 1
        return self.read_locked(key, expiry)

    @cython.cfunc
    def copy_found(self, found: cython.pointer(Found), expiry: cython.pointer(uint64_t)) -> tuple:
        """Of an open entry, which is closed; None: a part of it has ended."""
        status: cython.int
        data: bytes
        room: cython.p_char
        if expiry != cython.NULL:
            expiry[0] = found.item.expiry
        else:
            self.read_found(found)
        try:
            self.check_sizes(cython.address(found.item))
            data = PyBytes_FromStringAndSize(cython.NULL, found.item.nr_stored)
        except BaseException:
            entry_close(self.ref, self.g, found)
            raise
        room = PyBytes_AS_STRING(data)
        if found.item.nr_stored > _LARGE:
            with cython.nogil:
                status = read_value(self.ref, self.g, found, room)
        else:
            status = read_value(self.ref, self.g, found, room)
        if status == OK:
            return (found.codec, found.item.nr_logical, data)
        if status != STALE:
            self.retry(status)
        return None

    @cython.cfunc
    def read_locked(self, key: cython.pointer(Key), expiry: cython.pointer(uint64_t)) -> tuple:
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
                if expiry != cython.NULL:
                    expiry[0] = found.item.expiry
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

    def get_raw_into(self, key, buffer, number: uint32_t = 0, fill=None, /):
        """As get, but a value that is stored as it is, or that get_filled would make where it lies, goes straight into `buffer`
        if it fits (the bytes are None then). While others replace the value, the buffer may hold garbage until this returns."""
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
                if (
                    fill is not None
                    and found.codec == number
                    and found.next == 0
                    and found.item.nr_logical <= cython.cast(uint64_t, view.len)
                    and not gone(cython.address(found))
                ):
                    self.read_found(cython.address(found))
                    try:
                        self.fill_found(cython.address(found), fill, b"", cython.cast(cython.p_char, view.buf))
                        return (0, found.item.nr_logical, None)
                    except Exception:
                        break
                if found.codec or found.item.nr_stored > cython.cast(uint64_t, view.len) or gone(cython.address(found)):
                    entry_close(self.ref, self.g, cython.address(found))
                    break
                self.read_found(cython.address(found))
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
                there: cython.bint = not gone(cython.address(found))
                entry_close(self.ref, self.g, cython.address(found))
                return there
            if status == NOT_FOUND:
                return False
            self.retry(status)

    # ---- expiry

    def ttl(self, key, /):
        """(seconds left, None: for ever), or None: there is no such key."""
        k: Key
        found: Found
        status: cython.int
        if not self.take_key(cython.address(k), key):
            return None
        while True:
            status = index_find(self.ref, self.g, cython.address(k), cython.address(found))
            if status == NOT_FOUND:
                return None
            if status == OK:
                entry_close(self.ref, self.g, cython.address(found))
                if gone(cython.address(found)):
                    return None
                return (seconds_left(found.item.expiry) if found.item.expiry else None,)
            self.retry(status)

    def touch(self, key, ttl, /):
        """Sets the seconds that an entry has to live from now on, None: as of a put; False: there is no such key."""
        k: Key
        expiry: uint64_t = self.expiry_for(ttl)
        now: uint64_t
        status: cython.int = TIMED_OUT
        if not self.take_key(cython.address(k), key):
            return False
        self.mapping.ensure_slot()
        while status != OK:
            now = clock_now()
            with cython.nogil:
                status = index_expire_at(self.ref, self.g, cython.address(k), expiry, now, _SLICE_NS)
            if status == NOT_FOUND:
                return False
            if status != OK:
                self.retry(status)
        return True
