# L3: changing the index of a store: see hashcommit.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.hashentry cimport Item, Key
from mempools.pools.hashtable cimport Stripe
from mempools.pools.zsgeometry cimport Geometry

# Between these two nothing of the stripe changes. OK, TIMED_OUT, INTERRUPTED, NOT_REGISTERED.
cdef int index_lock(PoolRef *pool, Stripe *stripe, uint64_t timeout_ns) noexcept nogil
cdef void index_unlock(PoolRef *pool, Stripe *stripe) noexcept nogil

# The entry that went out is the caller's own in `old` (handle 0: none): read it, then retire it.
cdef int index_put(PoolRef *pool, Geometry *g, Key *key, Item *new, bint only_if_absent, uint64_t now, uint64_t timeout_ns, Item *old) noexcept nogil
cdef int index_delete(PoolRef *pool, Geometry *g, Key *key, uint64_t timeout_ns, Item *old) noexcept nogil
cdef int index_replace(PoolRef *pool, Geometry *g, Key *key, Item *new, uint64_t if_word, uint64_t timeout_ns, Item *old) noexcept nogil

cdef int index_expire_at(PoolRef *pool, Geometry *g, Key *key, uint64_t expiry, uint64_t now, uint64_t timeout_ns) noexcept nogil

# Under the stripe's lock, or for its dead holder: adds (sign 1) or takes off (sign -1) one entry, but for its bytes.
cdef void count_entry(Geometry *g, Stripe *stripe, Item *item, uint64_t sign) noexcept nogil
cdef uint64_t counted(Item *item) noexcept nogil
cdef void add(uint64_t *word, uint64_t delta) noexcept nogil
cdef void add_expiring(Stripe *stripe, uint32_t delta) noexcept nogil
cdef int commit(PoolRef *pool, Geometry *g, Stripe *stripe, uint64_t *link, uint64_t word, Item *new, uint64_t before, Item *old) noexcept nogil
