# L3: recovery and check of a ZsPool: see zsmend.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.zsgeometry cimport Geometry

cdef struct ClassReport:       # of zs_check: what does not add up
    uint64_t objects           # live ones
    uint64_t bad_objects       # cells whose slot does not name them, or whose zspage is none
    uint64_t claimed           # cells that somebody claims, which nobody can
    uint64_t bad_slots         # zspages whose slots, counts or chain do not add up
    uint64_t bad_groups        # zspages in a list that is not theirs, or in none
    uint64_t bad_cells         # free cells that are not in the chain, or in it twice
    uint64_t bad_counts        # of the class

# Under the class's lock: OK, or what the lock says.
cdef int zs_check(PoolRef *pool, Geometry *g, uint64_t c, ClassReport *report, uint64_t timeout_ns) noexcept nogil
cdef inline bint report_wrong(ClassReport *report) noexcept nogil:
    return (report.bad_objects | report.claimed | report.bad_slots | report.bad_groups | report.bad_cells | report.bad_counts) != 0

# In a forked child, whose copy of a private arena it is.
cdef void zs_forked(PoolRef *pool) noexcept nogil

# Recovery in two halves, for a kind whose root begins with a ZsPool's and which says between them what is kept.
cdef void zs_mend_tables(PoolRef *pool, Geometry *g, uint32_t slot) noexcept nogil
cdef int zs_mend_objects(PoolRef *pool, Geometry *g, uint32_t slot) noexcept nogil
# A class's lock in the dead process's name: OK or BUSY.
cdef int take_lock(uint32_t *lock, uint32_t slot) noexcept nogil
