# L3: zspages of a ZsPool move out of the tail of a chunk, which then goes offline: see zsrehome.py.
from libc.stdint cimport uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.zsgeometry cimport NR_CLASSES, Geometry

cdef enum:
    LEAST_TAIL = 16            # granules worth giving back

cdef struct Rehoming:          # of the tail of one chunk, in the memory of whoever does it
    uint64_t tried             # a bit for each chunk that has been looked at
    uint64_t fixed[4]          # a bit for each class whose objects must stay where they are
    uint64_t chunk             # its number, and its state when it was picked
    uint64_t state
    uint64_t keep              # granules that stay; the others are its tail
    uint64_t nr                # granules of the tail that are not offline already
    uint64_t next              # descriptor that is looked at next
    uint64_t nr_held           # granules of the tail that are this process's, each a block, so that nobody else gets them
    unsigned char *held        # of each word of the map, which lanes; zero when it is picked
    uint64_t targets[NR_CLASSES]    # of each class a zspage that objects move to: index + 1

cdef int rehome_pick(PoolRef *pool, Rehoming *state) noexcept nogil
cdef int rehome_plan(PoolRef *pool, Geometry *g, Rehoming *state) noexcept nogil
cdef void rehome_close(PoolRef *pool, Rehoming *state) noexcept nogil
cdef int rehome_turn(PoolRef *pool, Geometry *g, Rehoming *state, uint64_t timeout_ns) noexcept nogil
cdef int rehome_finish(PoolRef *pool, Rehoming *state) noexcept nogil
