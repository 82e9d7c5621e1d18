from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    #define MP_NOWHERE UINT64_MAX
    """
    const uint64_t NOWHERE "MP_NOWHERE"

cdef uint64_t find_run(uint64_t *map, uint64_t *summary, uint64_t start, uint64_t end, uint64_t nr, uint64_t align, uint64_t phase) noexcept nogil
cdef uint64_t find_best(uint64_t *map, uint64_t *summary, uint64_t end, uint64_t nr, uint64_t align, uint64_t phase) noexcept nogil
cdef uint64_t largest_run(uint64_t *map, uint64_t *summary, uint64_t end) noexcept nogil
