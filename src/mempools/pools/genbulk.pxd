from libc.stdint cimport uint64_t
from mempools.layout.refs cimport Hint, PoolRef

# Many blocks of one size: `nr` becomes the number served. OK, or why it stopped (those served stay served).
cdef int genpool_alloc_bulk(PoolRef *pool, Hint *hint, uint64_t nbytes, uint64_t *addresses, uint64_t *nr) noexcept nogil
cdef int genpool_free_bulk(PoolRef *pool, const uint64_t *addresses, uint64_t *nr, uint64_t nbytes) noexcept nogil
