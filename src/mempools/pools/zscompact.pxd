# L3: compaction of a ZsPool: see zscompact.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.zsgeometry cimport Geometry

cdef enum:
    MAX_PASSED = 64
    MOVES_A_TURN = 32

cdef struct Compaction:        # of one class, in the compacting thread's own memory
    uint64_t passed[MAX_PASSED]     # zspages in which somebody reads: index + 1
    uint64_t nr_passed
    uint64_t pages             # given back so far
    bint to_system             # their memory, too

cdef uint64_t can_compact(PoolRef *pool, Geometry *g, uint64_t c) noexcept nogil
# OK: there may be more to do, call again; NOT_FOUND: no more; or what the lock says, or CORRUPT.
cdef int compact_turn(PoolRef *pool, Geometry *g, uint64_t c, Compaction *state, uint64_t timeout_ns) noexcept nogil
cdef int move_locked(PoolRef *pool, Geometry *g, uint64_t c, uint64_t source, uint64_t at, uint64_t target) noexcept nogil
cdef int compact_trylock(PoolRef *pool) noexcept nogil
cdef void compact_unlock(PoolRef *pool) noexcept nogil
cdef int zs_trim(PoolRef *pool, Geometry *g, bint to_system, uint64_t *pages, uint64_t timeout_ns) noexcept nogil
