"""L4: keys of namespaces, as an index takes them: the namespace's id, then the bytes of the key.

They are of kinds of their own, so that no key of the store itself is one of them. Made for one call, mostly: without any
other object for a short key.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.spacekey is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memcpy
from cython.cimports.mempools.objects.storereads import PyUnicode_AsUTF8AndSize
from cython.cimports.mempools.pools.hashentry import KEY_BYTES, KEY_SPACE, KEY_STR, MAX_KEY, SPACE_BYTES


@cython.final
@cython.freelist(8)
@cython.cclass
class SpacedKey:
    """Of one namespace. Immutable; thread-safe."""

    def __init__(self):
        raise TypeError("a SpacedKey is made by spaced_key, or by a scan")

    @property
    def id(self) -> int:
        """The namespace's."""
        id: uint32_t = 0
        if self.data != cython.NULL:
            memcpy(cython.address(id), self.data, SPACE_BYTES)
        return id

    @property
    def is_str(self) -> bool:
        return self.kind & KEY_STR != 0

    @property
    def raw(self) -> bytes:
        """The key's bytes, without the namespace's."""
        if self.data == cython.NULL:
            return b""
        return PyBytes_FromStringAndSize(self.data + SPACE_BYTES, self.nbytes - SPACE_BYTES)

    @property
    def whole(self) -> bytes:
        """The key's bytes as the store has them."""
        return PyBytes_FromStringAndSize(self.data, self.nbytes) if self.data != cython.NULL else b""

    def __len__(self) -> int:
        return self.nbytes

    def __repr__(self) -> str:
        """As the namespace's user knows it."""
        return repr(self.raw.decode() if self.is_str else self.raw)


@cython.cfunc
def spaced(id: uint64_t, name: object) -> SpacedKey:
    """The key `name`, a str or bytes, of a namespace."""
    key: SpacedKey = SpacedKey.__new__(SpacedKey)
    size: cython.Py_ssize_t = 0
    source: cython.p_const_char
    room: cython.p_char = key.room
    prefix: uint32_t = cython.cast(uint32_t, id)
    if isinstance(name, str):
        source = PyUnicode_AsUTF8AndSize(name, cython.address(size))
        key.kind = KEY_SPACE | KEY_STR
    elif isinstance(name, bytes):
        source = PyBytes_AS_STRING(name)
        size = PyBytes_GET_SIZE(name)
        key.kind = KEY_SPACE | KEY_BYTES
    else:
        raise TypeError(f"a store's keys are str or bytes, not {type(name).__name__}")
    key.nbytes = size + SPACE_BYTES
    if key.nbytes > MAX_KEY:
        return key
    if key.nbytes > ROOM:
        key.large = PyBytes_FromStringAndSize(cython.NULL, key.nbytes)
        room = PyBytes_AS_STRING(key.large)
    memcpy(room, cython.address(prefix), SPACE_BYTES)
    memcpy(room + SPACE_BYTES, source, size)
    key.data = room
    return key


@cython.cfunc
def found_key(data: cython.p_const_char, nbytes: uint64_t, kind: uint64_t) -> SpacedKey:
    """A key as it lies in a store."""
    key: SpacedKey = SpacedKey.__new__(SpacedKey)
    key.large = PyBytes_FromStringAndSize(data, nbytes)
    key.data = PyBytes_AS_STRING(key.large)
    key.nbytes = nbytes
    key.kind = kind
    return key


def spaced_key(id: uint64_t, name, /) -> SpacedKey:
    """The key `name`, a str or bytes, of the namespace with that id."""
    return spaced(id, name)
