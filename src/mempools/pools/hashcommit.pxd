# L3: changing the index of a store: see hashcommit.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.hashindex cimport Key, Stripe

# Between these two nothing of the stripe changes. OK, TIMED_OUT, INTERRUPTED, NOT_REGISTERED.
cdef int index_lock(PoolRef *pool, Stripe *stripe, uint64_t timeout_ns) noexcept nogil
cdef void index_unlock(PoolRef *pool, Stripe *stripe) noexcept nogil

# The entry that went out is the caller's own block in `old` (0: none): read it, then free it.
cdef int index_put(PoolRef *pool, Key *key, uint64_t new, bint only_if_absent, uint64_t timeout_ns, uint64_t *old) noexcept nogil
cdef int index_delete(PoolRef *pool, Key *key, uint64_t timeout_ns, uint64_t *old) noexcept nogil
cdef int index_mend(PoolRef *pool, uint32_t slot) noexcept nogil
