"""L4: bytes that a codec writes straight into, instead of a bytearray that is zeroed first and copied afterwards, and memory that
it reads where it is."""

import cython

if not cython.compiled:
    raise ImportError("mempools.objects.filled is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.cpython.buffer import PyBuffer_FillInfo
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize


@cython.final
@cython.cclass
class Room:
    """Memory as a buffer: of bytes that nobody has seen yet, to be written, or of something else, to be read."""

    def __init__(self):
        raise TypeError("a Room is made for a codec's call")

    def __getbuffer__(self, buffer: cython.pointer(Py_buffer), flags: cython.int):
        PyBuffer_FillInfo(buffer, self, self.memory, self.nbytes, self.made is None, flags)
        self.nr_views += 1

    def __releasebuffer__(self, buffer: cython.pointer(Py_buffer)):
        self.nr_views -= 1


@cython.cfunc
def room_of(made: bytes, memory: cython.p_char, nbytes: cython.Py_ssize_t) -> Room:
    room: Room = Room.__new__(Room)
    room.made = made
    room.memory = memory
    room.nbytes = nbytes
    return room


@cython.cfunc
def fill_room(fill: object, data: object, room: Room) -> bytes:
    """Fills all of it."""
    written: object = fill(data, room, room.nbytes)
    if room.nr_views:
        raise BufferError(f"{fill!r} has kept a view of bytes that are not to change any more")
    if written != room.nbytes:
        raise ValueError(f"{written} bytes came out, not {room.nbytes}")
    return room.made


@cython.cfunc
def fill_from(fill: object, data: object, nbytes: cython.Py_ssize_t) -> bytes:
    """As `filled`."""
    made: bytes = PyBytes_FromStringAndSize(cython.NULL, nbytes)
    return fill_room(fill, data, room_of(made, PyBytes_AS_STRING(made), nbytes))


def filled(fill, data, nbytes: cython.Py_ssize_t, /):
    """Bytes that `fill(data, buffer, nbytes)` has written, which returns how many it wrote: ValueError if not nbytes. Nobody has
    the bytes before this returns, or their memory after it: BufferError for a `fill` that keeps a view."""
    return fill_from(fill, data, nbytes)
