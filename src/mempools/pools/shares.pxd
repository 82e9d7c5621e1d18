from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef

# What stands in a pickle, and in the Block that holds a share: which record, of which generation, and which lane of it.
cdef struct Share:
    uint64_t record
    uint64_t generation
    uint64_t lane

# Takes a block of this process that was shared: OK, or it stays the process's and goes back to `pool`.
ctypedef int (*keep_fn)(PoolRef *pool, uint64_t keeper, uint64_t address, uint64_t nbytes) noexcept nogil

cdef void register_keeper(keep_fn fn) noexcept nogil
cdef int share_create(PoolRef *pool, uint64_t address, uint64_t nbytes, uint64_t keeper, Share *share) noexcept nogil
cdef int share_ticket(PoolRef *pool, const Share *held, Share *ticket) noexcept nogil
cdef int share_redeem(PoolRef *pool, const Share *ticket, uint64_t address, uint64_t nbytes, Share *held) noexcept nogil
cdef int share_drop(PoolRef *pool, const Share *share, bint is_ticket) noexcept nogil
cdef uint64_t share_holders(PoolRef *pool, const Share *share) noexcept nogil
cdef uint64_t share_recall(PoolRef *pool) noexcept nogil
cdef int share_mend(PoolRef *pool, uint32_t slot) noexcept nogil
