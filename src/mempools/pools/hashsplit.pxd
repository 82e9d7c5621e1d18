# L3: growth of a store's index: see hashsplit.py.
from libc.stdint cimport uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.hashtable cimport Stripe
from mempools.pools.zsgeometry cimport Geometry

cdef bint index_is_crowded(PoolRef *pool, Stripe *stripe) noexcept nogil
cdef int index_split(PoolRef *pool, Geometry *g) noexcept nogil
cdef void clear_moved(PoolRef *pool, uint64_t bucket) noexcept nogil
