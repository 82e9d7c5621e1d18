from libc.stdint cimport uint8_t, uint32_t, uint64_t
from mempools.layout.growth cimport ForeignChunk
from mempools.layout.refs cimport ArenaRef, PoolRef

cdef struct PoolConfig:
    uint64_t kind
    uint64_t shift
    uint64_t limit
    uint64_t foreign
    uint64_t root_nbytes
    uint64_t nr_shares

cdef int directory_open(ArenaRef *arena, const uint8_t *name, PoolConfig *config, bint create, uint32_t *index) noexcept nogil
cdef int directory_adopt(ArenaRef *arena, uint32_t slot, PoolRef **pools) noexcept nogil
cdef int directory_drop(ArenaRef *arena, uint32_t index, bint force) noexcept nogil
cdef bint in_use(ArenaRef *arena, uint32_t index, uint32_t slot, bint force) noexcept nogil
cdef int directory_lock(ArenaRef *arena, uint32_t slot) noexcept nogil
cdef void directory_unlock(ArenaRef *arena, uint32_t slot) noexcept nogil
cdef int directory_add_foreign(PoolRef *pool, ForeignChunk *chunk) noexcept nogil
