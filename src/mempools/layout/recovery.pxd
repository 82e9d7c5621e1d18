from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport ArenaRef, PoolRef

# Mends one kind's structures after the death of the process in `slot`; called with that slot's liveness lock held, before
# the slot's blocks are released. May be killed and run again.
ctypedef int (*mend_fn)(PoolRef *pool, uint32_t slot) noexcept nogil

cdef void register_mend(uint32_t kind, mend_fn fn) noexcept nogil
cdef void register_late_mend(uint32_t kind, mend_fn fn) noexcept nogil
cdef int sweep_slot(ArenaRef *arena, uint32_t slot) noexcept nogil
