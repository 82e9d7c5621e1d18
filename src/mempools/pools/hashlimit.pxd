# L3: a bound on a store's bytes: see hashlimit.py.
from libc.stdint cimport uint64_t
from mempools.layout.refs cimport PoolRef

cdef int index_choose_bound(PoolRef *pool, uint64_t bound, uint64_t *chosen) noexcept nogil
cdef uint64_t index_limit(PoolRef *pool) noexcept nogil
cdef uint64_t index_bytes(PoolRef *pool) noexcept nogil
cdef bint may_be_more(PoolRef *pool) noexcept nogil
cdef int index_recount(PoolRef *pool, uint64_t timeout_ns) noexcept nogil
# Under the stripe's lock.
cdef int limit_take(PoolRef *pool, uint64_t nbytes, uint64_t limit, uint64_t *short) noexcept nogil
cdef void limit_give(PoolRef *pool, uint64_t nbytes) noexcept nogil
# Without any.
cdef int all_lock(PoolRef *pool, uint64_t timeout_ns) noexcept nogil
cdef void all_unlock(PoolRef *pool, uint64_t nr) noexcept nogil
