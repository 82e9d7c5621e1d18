"""L4: a buffer of 8-byte integers as the words that bulk calls work on."""

import cython

if not cython.compiled:
    raise ImportError("mempools.objects.words is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.cpython.buffer import (
    PyBUF_CONTIG,
    PyBUF_CONTIG_RO,
    PyBUF_FORMAT,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cython.cimports.libc.stdint import uint64_t, uintptr_t


@cython.cfunc
def words_of(buffer: object, nr: uint64_t, view: cython.pointer(Py_buffer), writable: cython.bint) -> cython.pointer(
    uint64_t
):
    """The 8-byte words of a buffer, which stays exported until the view is released."""
    PyObject_GetBuffer(buffer, view, (PyBUF_CONTIG if writable else PyBUF_CONTIG_RO) | PyBUF_FORMAT)
    form: bytes = b"B" if view.format == cython.NULL else view.format
    if (
        cython.cast(uint64_t, view.len) >> 3 < nr
        or cython.cast(uintptr_t, view.buf) & 7
        or form.lstrip(b"@=<") not in (b"Q", b"q", b"L", b"l", b"N", b"n", b"B", b"b", b"c")
        or view.itemsize not in (1, 8)
    ):
        found = f"{view.len} bytes at {cython.cast(uintptr_t, view.buf):#x} of items of format {form.decode()!r}"
        PyBuffer_Release(view)
        raise ValueError(f"a buffer of {nr} 8-byte integers is needed, not {found}")
    return cython.cast(cython.pointer(uint64_t), view.buf)
