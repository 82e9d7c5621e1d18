from libc.stdint cimport uint32_t, uint64_t

cdef int cut(uint64_t *map, uint64_t *summary, uint64_t first, uint64_t nr, uint32_t owner) noexcept nogil
cdef int extend(uint64_t *map, uint64_t *summary, uint64_t first, uint64_t nr, uint32_t owner) noexcept nogil
