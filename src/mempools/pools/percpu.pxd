from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.percpuindex cimport PerCpuTable, Units

cdef struct PerCpuConfig:
    uint64_t nr_units
    uint64_t unit_nbytes
    uint64_t by_process
    uint64_t given             # which of them must be as the pool has them: 1 by_process, 2 nr_units, 4 unit_nbytes

# For compiled users. The pointer to unit u's copy of an area, while the area is allocated; this CPU's unit is
# percpu_this_unit(units). What several threads or processes change must be changed atomically: any of them may run on any
# CPU at any time.
cdef inline char *percpu_ptr(Units *units, uint64_t address, uint64_t unit) noexcept nogil:
    return units.pool.arena.base + address + unit * units.unit_nbytes

cdef uint64_t percpu_this_unit(Units *units) noexcept nogil

# Finds the constants of a pool that is ready: OK, NOT_FOUND while it is not, CORRUPT.
cdef int percpu_load(PoolRef *pool, Units *units) noexcept nogil
# The same, and makes it ready, as `want` says, if it is not. OK, MISMATCH, CORRUPT, and what the lock says.
cdef int percpu_setup(PoolRef *pool, PerCpuConfig *want, Units *units) noexcept nogil
cdef int percpu_alloc(Units *units, uint64_t nbytes, uint64_t align, bint wait, uint64_t *address) noexcept nogil
# Frees the area at `address`, whose size it finds in the map: OK, or what is wrong with nothing changed.
cdef int percpu_free(Units *units, uint64_t address) noexcept nogil
# Bytes of the area that starts at `address` and belongs to `owner`, 0 for none.
cdef uint64_t percpu_size(Units *units, uint64_t address) noexcept nogil
# After something else than percpu_free (a share's end) may have freed an area.
cdef void percpu_freed(Units *units, uint64_t address, uint64_t nbytes) noexcept nogil
# Both: OK, TIMED_OUT, INTERRUPTED; the alloc lock first.
cdef int alloc_lock(Units *units) noexcept nogil
cdef void alloc_unlock(Units *units) noexcept nogil
cdef int index_lock(Units *units) noexcept nogil
# For maintenance, under the alloc lock.
cdef int populate(Units *units, uint64_t i, uint64_t bits) noexcept nogil
cdef int add_chunk(Units *units) noexcept nogil
cdef void index_unlock(Units *units) noexcept nogil
