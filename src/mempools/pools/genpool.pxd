from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport ChunkRef, Hint, PoolRef

cdef enum Algorithm:
    NEAR_FIT = 0               # from where the handle last was, around once; the default
    FIRST_FIT = 1              # data: alignment in bytes (0: none), of the address
    BEST_FIT = 2               # data: likewise
    ORDER_ALIGN = 3            # aligned to the size rounded up to a power of two; data 0: in the chunk, 1: of the address
    FIXED = 4                  # data: the address

# An `address` is an offset from the arena's start for blocks inside the arena, a foreign address otherwise; any 64-bit
# value is one, 0 and the last included, so success is the status and never the address.
# These two, and genpool_alloc_algo, may be called from a C signal handler: they take no lock and call no Python.
cdef int genpool_alloc(PoolRef *pool, Hint *hint, uint64_t nbytes, uint64_t *address) noexcept nogil
cdef int genpool_free(PoolRef *pool, uint64_t address, uint64_t nbytes) noexcept nogil
cdef int genpool_alloc_algo(PoolRef *pool, Hint *hint, uint64_t nbytes, uint32_t algorithm, uint64_t data, uint64_t *address) noexcept nogil
cdef int genpool_take(PoolRef *pool, uint64_t nbytes, bint low, uint64_t *address) noexcept nogil
# Hands a whole block from one owner to another; granules that are to_owner's already stay (a repeated transfer).
cdef int genpool_transfer(PoolRef *pool, uint64_t address, uint64_t nbytes, uint32_t from_owner, uint32_t to_owner) noexcept nogil
# The chunk that holds [address, address + nbytes) whole, or NULL.
cdef ChunkRef *genpool_chunk(PoolRef *pool, uint64_t address, uint64_t nbytes) noexcept nogil
cdef uint64_t genpool_granules(PoolRef *pool, uint64_t nbytes) noexcept nogil
cdef int genpool_claim(PoolRef *pool, uint64_t chunk, uint64_t index, uint64_t nr) noexcept nogil
