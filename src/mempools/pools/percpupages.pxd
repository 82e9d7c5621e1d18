from libc.stdint cimport uint64_t
from mempools.pools.percpuindex cimport Units

# Under the alloc lock; `bits`: blocks of the i-th chunk.
cdef uint64_t blocks_from(uint64_t bits, uint64_t *first) noexcept nogil
cdef uint64_t run_mask(uint64_t first, uint64_t nr) noexcept nogil
cdef int reserve_blocks(Units *units, uint64_t i, uint64_t bits) noexcept nogil
cdef int punch_blocks(Units *units, uint64_t i, uint64_t bits) noexcept nogil
