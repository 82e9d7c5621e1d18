from libc.stdint cimport uint64_t
from mempools.check.state cimport Engine

cdef class Explorer:
    cdef Engine *engine
    cdef char *memory
    cdef uint64_t nbytes
    cdef readonly str scene
    cdef list mutated
    cdef int enter(self) except -1
    cdef int leave(self) except -1
    cdef int search(self, uint64_t nr) except -1
    cdef int raise_halted(self) except -1
    cdef int follow(self, str path, bint fixed) except -1
    cdef int find_promises(self) except -1
