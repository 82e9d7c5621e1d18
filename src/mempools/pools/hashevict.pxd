# L3: which entry of a store goes: see hashevict.py.
from libc.stdint cimport uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.hashentry cimport Item
from mempools.pools.zsgeometry cimport Geometry

cdef enum:
    ENOUGH = 10                # entries to choose from
    MANY = 40                  # buckets to find them in

cdef enum Worth:
    EXPIRED = 0x8000000000000000

cdef struct Moment:            # when somebody looks, and for what
    uint64_t evict             # EVICT_*
    uint64_t now               # see hashclock.pxd
    uint64_t tick

cdef struct Victim:
    uint64_t worth             # 0: none
    uint64_t bucket
    uint64_t *slot
    uint64_t word
    uint64_t seen              # how many there were to choose from

cdef int index_look(PoolRef *pool, Geometry *g, Moment *now, uint64_t *bucket, bint at_random, uint64_t most, uint64_t enough, Victim *victim) noexcept nogil
cdef int index_evict(PoolRef *pool, Geometry *g, Moment *now, Victim *victim, uint64_t timeout_ns, Item *old) noexcept nogil
