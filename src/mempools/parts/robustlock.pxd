from libc.stdint cimport uint32_t, uint64_t

cdef int robust_trylock(uint32_t *word, uint32_t slot) noexcept nogil
cdef int robust_lock(uint32_t *word, uint32_t slot, uint64_t timeout_ns) noexcept nogil
cdef void robust_unlock(uint32_t *word, uint32_t slot) noexcept nogil
cdef uint32_t robust_holder(uint32_t *word) noexcept nogil
