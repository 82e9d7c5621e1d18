"""L4: bytes that a codec writes straight into, instead of a bytearray that is zeroed first and copied afterwards."""

import cython

if not cython.compiled:
    raise ImportError("mempools.objects.filled is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.cpython.buffer import PyBuffer_FillInfo
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize


@cython.final
@cython.internal
@cython.cclass
class Room:
    """The memory of bytes that nobody has seen yet, as a writable buffer."""

    made: bytes
    nr_views: cython.int

    def __getbuffer__(self, buffer: cython.pointer(Py_buffer), flags: cython.int):
        PyBuffer_FillInfo(buffer, self, PyBytes_AS_STRING(self.made), len(self.made), False, flags)
        self.nr_views += 1

    def __releasebuffer__(self, buffer: cython.pointer(Py_buffer)):
        self.nr_views -= 1


def filled(fill, data, nbytes: cython.Py_ssize_t, /):
    """Bytes that `fill(data, buffer, nbytes)` has written, which returns how many it wrote: ValueError if not nbytes. Nobody has
    the bytes before this returns, or their memory after it: BufferError for a `fill` that keeps a view."""
    room: Room = Room.__new__(Room)
    room.made = PyBytes_FromStringAndSize(cython.NULL, nbytes)
    written = fill(data, room, nbytes)
    if room.nr_views:
        raise BufferError(f"{fill!r} has kept a view of bytes that are not to change any more")
    if written != nbytes:
        raise ValueError(f"{written} bytes came out, not {nbytes}")
    return room.made
