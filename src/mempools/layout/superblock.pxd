# L2: page 0 of an arena, and where the fixed tables lie.
from libc.stdint cimport uint64_t
from mempools.layout.structs cimport Superblock

cdef enum:
    SLOTS_OFFSET = 1 << 12      # ProcSlot[NR_SLOTS + 1], 2 pages
    POOLS_OFFSET = 3 << 12      # PoolEntry[NR_POOLS], 4 pages
    CHUNK_OFFSET = 7 << 12      # the page pool's chunk: as many pages as pages_header_nbytes says

# Fills the constant part of a zeroed superblock; `ready` stays 0 until superblock_publish.
cdef void superblock_format(Superblock *sb, uint64_t nbytes, uint64_t id_lo, uint64_t id_hi, uint64_t flags,
                            uint64_t created_ns) noexcept nogil
cdef void superblock_publish(Superblock *sb) noexcept nogil
