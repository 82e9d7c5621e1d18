from cpython.buffer cimport Py_buffer
from libc.stdint cimport uint64_t

cdef class AtomicU64:
    # constant after create
    cdef Py_buffer view        # keeps the buffer exported, so that its memory neither moves nor goes away
    cdef uint64_t *word
