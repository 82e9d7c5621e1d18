from libc.stdint cimport uint64_t
from mempools.layout.refs cimport ArenaRef

cdef int pages_back(ArenaRef *arena, uint64_t offset, uint64_t nbytes) noexcept nogil
cdef int pages_unback(ArenaRef *arena, uint64_t offset, uint64_t nbytes) noexcept nogil
cdef int pages_taken(ArenaRef *arena, uint64_t offset, uint64_t nbytes) noexcept nogil
