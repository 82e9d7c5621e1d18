# L3: Mempool, a guaranteed reserve over a backend: see mempool.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.reserve cimport SlotCounts, reserve_of

cdef enum:
    POISON_FREE = 0x6B         # in each byte of an element in the reserve of a pool with poison
    POISON_END = 0xA5          # in its last one
    POISON_INUSE = 0x5A        # in each byte of one that has been taken out

cdef enum TakeFlags:
    TAKE_QUEUES = 0x100        # who finds too little joins the queue; the low byte: Waiter.flags

# `backend` is NULL for a pool of numbers. Elements are addresses of blocks of the backend, of mempool_nbytes each.
cdef int mempool_take(PoolRef *pool, PoolRef *backend, uint64_t nr, uint64_t *words, uint64_t *waiter, uint64_t flags, uint64_t timeout_ns) noexcept nogil
cdef int mempool_give(PoolRef *pool, PoolRef *backend, const uint64_t *words, uint64_t nr, uint64_t *taken, uint64_t timeout_ns) noexcept nogil
cdef bint mempool_wants(PoolRef *pool) noexcept nogil
cdef void mempool_poison(PoolRef *pool, PoolRef *backend, uint64_t word, int byte, int last) noexcept nogil
cdef int mempool_keep(PoolRef *pool, PoolRef *backend, uint64_t word) noexcept nogil
cdef int mempool_leave(PoolRef *pool, uint64_t waiter, uint64_t timeout_ns) noexcept nogil
# This process's statistics.
cdef inline SlotCounts *mempool_counts(PoolRef *pool) noexcept nogil:
    return &reserve_of(pool).counts[pool.arena.slot[0]]

# For the pool's other modules.
cdef uint64_t element_nbytes(PoolRef *pool) noexcept nogil
cdef bint is_of(PoolRef *pool, PoolRef *backend) noexcept nogil
cdef int is_element(PoolRef *pool, PoolRef *backend, uint64_t word, uint32_t owner) noexcept nogil
cdef int push_locked(PoolRef *pool, PoolRef *backend, uint64_t word, uint32_t owner) noexcept nogil
cdef int pop_locked(PoolRef *pool, PoolRef *backend, uint64_t *word, uint32_t owner) noexcept nogil
