# L3: what a PerCpu pool keeps in the arena. Its areas are blocks of ordinary chunks, whose owner map is the truth; all
# that is declared here but the table's constants is a cache of it.
#
#   root     PerCpuTable
#   chunk    Chunk, summary, owner map of ONE unit; ChunkIndex just before the page on which unit 0 begins; nr_units units
#
# A granule is 4 bytes, a block is a page of a unit: 1024 granules. An area is one block of the owner map, [at, at + nr)
# granules of each unit; its address is that of unit 0's copy, unit u's is u * unit_nbytes further.
#
# Invariants, whenever nobody holds the index lock, for each block whose bit in `stale` is 0:
#   blocks[b].free    <= free granules of the block             (frees make it more, and then set the bit)
#   blocks[b].largest <= its longest free run, .left, .right <= the runs at its borders
#   populated bit set  =>  the block's page is backed in every unit
# and for a chunk with stale == 0, while nobody frees: with = instead of <=, and
#   largest == the longest free run of the chunk;  slot == slot_of(largest), or one of the three special ones
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport ChunkRef, PoolRef

cdef enum:
    PERCPU_SHIFT = 2           # a granule is 4 bytes
    BLOCK_GRANULES = 1024
    MAX_BLOCKS = 64            # pages of a unit
    MAX_UNITS = 4096

cdef struct PerCpuTable:
    # constant once ready is 1
    uint64_t ready
    uint64_t nr_units
    uint64_t unit_nbytes
    uint64_t by_process        # 1: units are slots of the process table; 0: CPUs
    uint64_t pad1[4]
    # sleeping: whoever may wait holds it while it searches, grows, populates; so does maintenance
    uint32_t alloc_lock
    uint32_t pad2
    uint64_t pad3[7]
    # short: the index, and all below
    uint32_t index_lock
    uint32_t pad4
    uint64_t front             # ranks handed out to chunks that go to the front of their list, and to the end
    uint64_t back
    uint64_t no_wait_failed    # 1: a wait=False request found nothing populated since the worker last ran
    uint64_t nr_alloc
    uint64_t nr_max_alloc      # areas at a time, at most
    uint64_t min_alloc
    uint64_t max_alloc
    uint64_t nr_empty          # populated pages of a unit that are wholly free, without isolated chunks'
    uint64_t reserved[7]

cdef struct ChunkIndex:
    uint64_t stale             # a bit per block: freed in since it was looked at. Anybody, without a lock
    uint64_t pad1[7]
    # under the index lock
    uint64_t populated         # a bit per block
    uint64_t slot
    uint64_t rank              # among the chunks of the slot: lowest first
    uint64_t largest           # granules of the longest free run
    uint64_t nr_free
    uint64_t nr_empty          # populated blocks that are wholly free
    uint64_t isolated          # 1: taken out of circulation, to be depopulated
    uint64_t max_alloc         # bytes of the largest area it ever had
    uint64_t nr_areas          # that begin in it
    uint64_t pad2[7]
    uint64_t blocks[MAX_BLOCKS]  # left | right << 12 | largest << 24 | free << 36, in granules; areas that begin in it << 48

cdef inline uint64_t block_left(uint64_t word) noexcept nogil:
    return word & 0xFFF

cdef inline uint64_t block_right(uint64_t word) noexcept nogil:
    return word >> 12 & 0xFFF

cdef inline uint64_t block_largest(uint64_t word) noexcept nogil:
    return word >> 24 & 0xFFF

cdef inline uint64_t block_free(uint64_t word) noexcept nogil:
    return word >> 36 & 0xFFF

cdef inline uint64_t block_areas(uint64_t word) noexcept nogil:
    return word >> 48

# What a process knows of a pool: constants, validated when it was opened.
cdef struct Units:
    PoolRef *pool
    PerCpuTable *table
    uint64_t nr_units
    uint64_t unit_nbytes
    uint64_t by_process
    uint64_t nr                # granules of a unit
    uint64_t nr_blocks

cdef uint64_t slot_of(uint64_t nbytes) noexcept nogil
cdef uint64_t scan_block(uint64_t *map, uint64_t block) noexcept nogil
cdef ChunkIndex *index_of(Units *units, uint64_t i) noexcept nogil
cdef void mark_stale(Units *units, uint64_t i, uint64_t at, uint64_t nr) noexcept nogil
cdef void refresh_blocks(Units *units, uint64_t i, uint64_t first, uint64_t last) noexcept nogil
cdef uint64_t refresh(Units *units) noexcept nogil
cdef bint find_area(Units *units, uint64_t nr, uint64_t align, bint populated_only, uint64_t *chunk, uint64_t *at) noexcept nogil
cdef void summarise(Units *units, ChunkIndex *index) noexcept nogil
cdef uint64_t sidelined(Units *units) noexcept nogil
cdef uint64_t nr_empty_populated(Units *units) noexcept nogil
cdef uint64_t nr_areas(Units *units) noexcept nogil
