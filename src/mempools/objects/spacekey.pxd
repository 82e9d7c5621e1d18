cimport cython
from libc.stdint cimport uint64_t

cdef enum:
    ROOM = 120                     # bytes of a key that needs no object of its own

@cython.final
cdef class SpacedKey:              # constant once made
    cdef const char *data          # the namespace's id, then the key; NULL: it is longer than any key
    cdef uint64_t nbytes
    cdef uint64_t kind             # KEY_*
    cdef bytes large
    cdef char room[ROOM]

cdef SpacedKey spaced(uint64_t id, object name)
cdef SpacedKey found_key(const char *data, uint64_t nbytes, uint64_t kind)
