# L3: the index of a store: see hashindex.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.hashentry cimport Found, Key
from mempools.pools.zsgeometry cimport Geometry

cdef int index_key(PoolRef *pool, Key *key, const char *data, uint64_t nbytes, uint64_t kind) noexcept nogil
cdef int entry_hash(PoolRef *pool, Geometry *g, Found *found, uint64_t *hash) noexcept nogil

# Readers: OK, and the entry is open; NOT_FOUND; CORRUPT; else as of zs_pin: try again.
cdef int index_find(PoolRef *pool, Geometry *g, Key *key, Found *found) noexcept nogil
# Likewise in one bucket's chain; STALE: a slot has changed meanwhile.
cdef int find_in(PoolRef *pool, Geometry *g, Key *key, uint64_t *line, Found *found) noexcept nogil
