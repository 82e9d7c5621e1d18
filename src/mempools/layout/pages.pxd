from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport ArenaRef, PoolRef

# Bytes of an arena's header (superblock, tables, page map) for `nbytes` of arena.
cdef uint64_t pages_header_nbytes(uint64_t nbytes) noexcept nogil
# Writes the directory's entry 0 and the page map of a new, zeroed arena whose superblock's nbytes, slots and pools are set.
cdef int pages_format(ArenaRef *arena) noexcept nogil
# Hands pages of the arena from one owner to another; those that are to_owner's already stay.
cdef int pages_transfer(ArenaRef *arena, uint64_t page, uint64_t nr, uint32_t from_owner, uint32_t to_owner) noexcept nogil
# A run of `nr` pages for `owner`: its first page in `page`. OK or EXHAUSTED.
cdef int pages_alloc(ArenaRef *arena, uint64_t nr, uint32_t owner, uint64_t *page) noexcept nogil
cdef int pages_free(ArenaRef *arena, uint64_t page, uint64_t nr, uint32_t owner) noexcept nogil
