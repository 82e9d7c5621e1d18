from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport ArenaRef, ChunkRef, PoolRef
from mempools.layout.structs cimport PoolEntry

cdef uint64_t chunk_overhead(uint64_t nr) noexcept nogil
cdef uint64_t chunk_map(uint64_t offset, uint64_t nr) noexcept nogil
cdef void chunk_format(ArenaRef *arena, uint64_t offset, uint64_t nr, uint64_t base, uint64_t run_nbytes) noexcept nogil
cdef int chunk_publish(ArenaRef *arena, PoolEntry *entry, uint64_t offset) noexcept nogil
cdef int pool_load(ArenaRef *arena, uint32_t index, PoolRef *pool) noexcept nogil
cdef int pool_update(PoolRef *pool) noexcept nogil
cdef uint64_t pool_known(PoolRef *pool) noexcept nogil
cdef void pool_forget(PoolRef *pool) noexcept nogil
cdef bint inside_chunk(ArenaRef *arena, uint64_t offset) noexcept nogil
cdef bint inside(ArenaRef *arena, uint64_t offset, uint64_t nbytes) noexcept nogil
