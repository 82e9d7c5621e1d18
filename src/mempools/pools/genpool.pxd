from libc.stdint cimport int64_t, uint32_t, uint64_t
from mempools.layout.refs cimport Hint, PoolRef

# An `address` is an offset from the arena's start for blocks inside the arena, a foreign address otherwise.
cdef int genpool_alloc(PoolRef *pool, Hint *hint, uint64_t nbytes, uint64_t *address) noexcept nogil
cdef int genpool_free(PoolRef *pool, uint64_t address, uint64_t nbytes) noexcept nogil
# Hands a whole block from one owner to another (both in the arena's hands at that moment: see [D:...] at the callers).
cdef int genpool_transfer(PoolRef *pool, uint64_t address, uint64_t nbytes, uint32_t from_owner, uint32_t to_owner) noexcept nogil
