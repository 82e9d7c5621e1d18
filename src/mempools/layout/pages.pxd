from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport ArenaRef, PoolRef

# Bytes of an arena's header (superblock, tables, page map) for `nbytes` of arena; the smallest arena is MIN_ARENA bytes.
cdef uint64_t pages_header_nbytes(uint64_t nbytes) noexcept nogil
# Writes slot table, directory and page pool of a new, zeroed arena whose superblock's nbytes, slots and pools are set.
cdef int pages_format(ArenaRef *arena) noexcept nogil
