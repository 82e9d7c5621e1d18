# L3: what a ZsPool keeps in the arena: see zstable.py.
#
#   root      ZsRoot, then ZsClass[leaders of the pool's chain]
#   blocks    of the pool's own chunks, granule a page, all of them OWNER_STRUCT's once they are named:
#             zspages (named by a descriptor), segments of the tables, pages of pins, queues of deferred frees (by the root)
#
# A cell, one word, is where an object is; never moved, never taken away:
#   0                                                                                       never used
#   generation << 48 | CELL_CLAIMED? | CELL_LIVE | class << 38 | owner << 31 | zspage << 8 | slot   an object
#   generation << 48 | class << 38 | (next free cell of the class + 1)                     free
# Invariants while nobody holds the class's lock:
#   a cell is CELL_LIVE  <=>  the header of the slot that it names, names it
#   ZsClass.inuse == cells of the class that are LIVE == sum of Descriptor.inuse
#   counts[g] == zspages in list g;  nr_zspages == sum of counts == descriptors of the class
#   Descriptor.inuse + length of its chain of free slots == slots of the class
#   each cell of the class that is not LIVE is in the chain from free_cell
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.layout.structs cimport NR_SLOTS
from mempools.pools.zsgeometry cimport NR_GROUPS, Geometry

cdef enum:
    ZS_SHIFT = 12
    NR_SEGMENTS = 21
    INLINE_CELLS = 512         # in the root; segment k > 0 of either table has 4096 << k bytes
    INLINE_DESCS = 64
    MAX_ZSPAGES = 0x800000
    SLOT_BITS = 8
    ZSPAGE_BITS = 23
    OWNER_SHIFT = 31
    CLASS_SHIFT = 38
    GENERATION_SHIFT = 48
    NR_PINS = 511              # of one process at a time
    NR_FIRST_PINS = 7          # of those, in the root

    DOOMED = 0                 # owner of an object that has ended but for those who are reading it, or for its place

cdef enum CellBits:
    CELL_LIVE = 0x400000000000
    CELL_CLAIMED = 0x800000000000   # somebody moves or frees it, under the class's lock: a reader takes the bit away

cdef struct ZsClass:           # written under the lock; statistics read without
    uint32_t lock
    uint32_t pad1
    uint64_t free_cell         # + 1
    uint64_t inuse
    uint64_t nr_zspages
    uint64_t heads[NR_GROUPS]  # first zspage of each group + 1
    uint64_t counts[NR_GROUPS]
    uint64_t nr_alloc          # objects allocated, ever: a statistic
    uint64_t pad2[3]

cdef struct Descriptor:        # 64 bytes, of a zspage; written under the class's lock
    uint64_t word              # 0: unused; its offset in the arena (whole pages) | its class + 1; constant while objects live
    uint64_t inuse
    uint64_t free              # first free slot + 1
    uint64_t prev              # in the list of its group, + 1
    uint64_t next
    uint64_t group
    uint64_t huge              # header of a huge object
    uint64_t pad

cdef struct ZsRoot:
    uint64_t chain             # 0: not made yet; then constant
    uint32_t compact_lock      # one compaction at a time
    uint32_t pad1
    # where to look for an unused one: hints
    uint64_t next_cell
    uint64_t next_desc
    # statistics
    uint64_t pages_compacted
    uint64_t nr_moved
    uint64_t nr_skipped        # objects that compaction passed by because somebody read them
    uint64_t pinners[2]        # a bit for each slot that has ever had a pin
    uint64_t pad2[7]
    # offsets, 0: none yet; then constant
    uint64_t cells[NR_SEGMENTS]
    uint64_t descs[NR_SEGMENTS]
    uint64_t pins[NR_SLOTS + 1]     # a page: word 0 the highest entry ever used, then entries: cell + 1, or 0
    uint64_t queues[NR_SLOTS + 1]   # a page: see zsdefer.pxd
    uint64_t pad3[4]
    uint64_t first_cells[INLINE_CELLS]
    Descriptor first_descs[INLINE_DESCS]
    uint64_t first_pins[(NR_SLOTS + 1) * (NR_FIRST_PINS + 1)]   # of each slot a line, as a page of pins

cdef inline ZsRoot *zs_root(PoolRef *pool) noexcept nogil:
    return <ZsRoot *>pool.root

cdef inline ZsClass *zs_class(PoolRef *pool, uint64_t c) noexcept nogil:
    return (<ZsClass *>(pool.root + sizeof(ZsRoot))) + c

cdef inline uint64_t cell_class(uint64_t word) noexcept nogil:
    return word >> CLASS_SHIFT & 0xFF

cdef inline uint64_t cell_owner(uint64_t word) noexcept nogil:
    return word >> OWNER_SHIFT & 0x7F

cdef inline uint64_t cell_zspage(uint64_t word) noexcept nogil:
    return word >> SLOT_BITS & (MAX_ZSPAGES - 1)

cdef inline uint64_t cell_slot(uint64_t word) noexcept nogil:
    return word & 0xFF

cdef inline uint64_t desc_word(uint64_t offset, uint64_t c) noexcept nogil:
    return offset | c + 1

cdef inline uint64_t desc_class(uint64_t word) noexcept nogil:
    return (word & 0xFFF) - 1

cdef inline uint64_t desc_offset(uint64_t word) noexcept nogil:
    return word >> ZS_SHIFT << ZS_SHIFT

# A handle: generation << 40 | class << 32 | cell
cdef inline uint64_t handle_of(uint64_t word, uint64_t index) noexcept nogil:
    return word >> GENERATION_SHIFT << 40 | cell_class(word) << 32 | index

cdef inline uint64_t index_of(uint64_t handle) noexcept nogil:   # of a handle; of a free cell's word: the next one's + 1
    return <uint32_t>handle

cdef inline bint handle_names(uint64_t handle, uint64_t word) noexcept nogil:
    return word & <uint64_t>CELL_LIVE != 0 and handle == handle_of(word, index_of(handle))

cdef uint64_t root_nbytes(Geometry *g) noexcept nogil
cdef int zs_make(PoolRef *pool, uint64_t chain) noexcept nogil
cdef Geometry *zs_geometry(PoolRef *pool) noexcept nogil
cdef uint64_t *zs_cell(PoolRef *pool, uint64_t index) noexcept nogil
cdef Descriptor *zs_desc(PoolRef *pool, uint64_t index) noexcept nogil
cdef int take_pages(PoolRef *pool, uint64_t nbytes, bint low, bint may_grow, uint64_t *offset) noexcept nogil
cdef int name_block(PoolRef *pool, uint64_t *name, uint64_t nbytes) noexcept nogil
cdef int grow_cells(PoolRef *pool) noexcept nogil
cdef int grow_descs(PoolRef *pool) noexcept nogil
# The header of a slot of a zspage, and the first byte of its object.
cdef uint64_t *header_of(PoolRef *pool, Geometry *g, Descriptor *d, uint64_t word, uint64_t slot) noexcept nogil
cdef char *object_at(PoolRef *pool, Geometry *g, uint64_t word, uint64_t slot) noexcept nogil
cdef bint word_fits(PoolRef *pool, Geometry *g, uint64_t word) noexcept nogil
# Of tables with segments whose offsets the root names, entry k has 4096 << k bytes, entry 0 is elsewhere: see there.
cdef uint64_t segment_of(uint64_t index, uint64_t first) noexcept nogil
cdef char *segment_at(PoolRef *pool, uint64_t *name, uint64_t k) noexcept nogil
cdef int grow(PoolRef *pool, uint64_t *names) noexcept nogil
