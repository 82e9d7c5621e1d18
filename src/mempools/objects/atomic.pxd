from cpython.buffer cimport Py_buffer
from libc.stdint cimport uint64_t

# Cython declares them with its own error check; a check in the slow path alone saves 5 of 50 ns on a free-threaded call.
cdef extern from "Python.h":
    void *PyErr_Occurred() noexcept
    uint64_t PyLong_AsUnsignedLongLong(object) noexcept

cdef class AtomicU64:
    # constant after create
    cdef Py_buffer view        # keeps the buffer exported, so that its memory neither moves nor goes away
    cdef uint64_t *word
