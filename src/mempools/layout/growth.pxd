from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport ArenaRef, PoolRef
from mempools.layout.structs cimport PoolEntry

cdef enum:
    MAX_RUNS = 66              # MAX_CHUNKS, the table and the share records

cdef struct Run:
    uint64_t page
    uint64_t nr

cdef struct ForeignChunk:      # what a chunk outside the arena is: see Chunk
    uint64_t base
    uint64_t nr
    uint64_t device
    uint64_t has_device
    uint64_t cookie

cdef int run_claim(ArenaRef *arena, uint64_t nbytes, uint64_t nr_touched, uint32_t owner, uint64_t *offset, uint64_t *run_nbytes) noexcept nogil
cdef int run_alloc(ArenaRef *arena, uint64_t nbytes, uint32_t owner, uint64_t *offset, uint64_t *run_nbytes) noexcept nogil
cdef int publish_or_free(ArenaRef *arena, PoolEntry *entry, uint64_t offset, uint64_t run_nbytes, uint32_t owner) noexcept nogil
cdef int chunk_add(ArenaRef *arena, PoolEntry *entry, uint64_t shift, uint64_t nr, uint32_t owner, uint64_t *offset) noexcept nogil
cdef int foreign_add(ArenaRef *arena, PoolEntry *entry, ForeignChunk *foreign, uint32_t owner, uint64_t *offset) noexcept nogil
cdef int pool_grow(PoolRef *pool, uint64_t nr) noexcept nogil
cdef int list_runs(ArenaRef *arena, PoolEntry *entry, Run *runs) noexcept nogil
cdef void runs_transfer(ArenaRef *arena, PoolEntry *entry, uint32_t from_owner, uint32_t to_owner) noexcept nogil
