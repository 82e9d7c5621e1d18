# L3: what a Zram keeps in the arena: see zramtable.py.
#
#   root      as of a ZsPool with the most classes: ZsRoot, ZsClass[NR_ROOT_CLASSES]; so every function of a ZsPool works on it
#             ZramRoot
#             ZramPage[nr_pages]
#             blocks of the backing file: words of an owner map, a byte a block, and its summary
#   blocks    as of a ZsPool
#
# Invariants while nobody holds the page's lock:
#   ZRAM_SAME                    the word is what the page repeats
#   ZRAM_WB                      the word is instance << 32 | block, and the block is OWNER_STRUCT's
#   else the word is 0           the page was never written, or discarded; the flags are 0
#   else                         the word is a handle of a live object, of ZRAM_SIZE bytes: the page as it is if ZRAM_HUGE,
#                                else as the codec of its priority made it
# No two pages name the same object or the same block. While it is locked, the flags are as they were before, and the entry of
# the holder's journal that the lock names has what recovery needs.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.layout.structs cimport NR_SLOTS
from mempools.pools.zsgeometry cimport Geometry

cdef enum:
    NR_CODECS = 4              # by priority: the primary one, and three for recompression
    NR_ENTRIES = 16            # of a process's journal: as many of its threads may have a page locked
    PATH_BYTES = 512           # of the backing file's path
    RECORD_BYTES = 4096        # of a page

    # ZramPage.flags
    ZRAM_SIZE = 0x1FFF         # bytes of the object, or of what was written back compressed
    ZRAM_SAME = 0x2000
    ZRAM_WB = 0x4000
    ZRAM_PP = 0x8000           # chosen by post-processing, and untouched since
    ZRAM_HUGE = 0x10000
    ZRAM_IDLE = 0x20000
    ZRAM_INCOMPRESSIBLE = 0x40000
    PRIORITY_SHIFT = 19        # two bits
    HOLDER_SHIFT = 21          # the process slot that has the page locked, seven bits; 0: nobody
    ENTRY_SHIFT = 28           # and the entry of its journal, four bits

    # ZramRoot.options
    ZRAM_WB_COMPRESSED = 1
    ZRAM_STRICT = 2

cdef enum LockBits:
    ZRAM_LOCK = 0xFFE00000     # holder and entry
    ZRAM_STATE = 0x1FFFFF      # the others

cdef enum JournalBits:
    # of ZramEntry.page: the rest of the entry is of this page's change; `old` is a handle, to be retired when it is done
    JOURNALED = 0x4000000000000000
    OLD_OBJECT = 0x8000000000000000

cdef struct ZramPage:          # 16 bytes; written by the holder of its lock
    uint64_t word
    uint32_t flags
    uint32_t time              # of the last access, in seconds; a hint

cdef struct ZramEntry:         # of a journal
    uint64_t page              # + 1, and JournalBits; 0: unused
    uint64_t old               # the page's word before the change
    uint64_t fresh             # handle of the new object, this process's until the change is done; 0: none
    uint64_t block             # + 1: that is to be written in the page, reserved for this process; 0: none

cdef struct ZramStats:         # since the device was made; each by swaps, none exact at an instant
    uint64_t max_used_pages
    uint64_t huge_pages_since
    uint64_t failed_reads
    uint64_t failed_writes
    uint64_t notify_free
    uint64_t miss_free
    uint64_t bd_reads          # in 4 KiB
    uint64_t bd_writes

cdef struct ZramRoot:
    # written once, by whoever makes the device: `made` last
    uint64_t made
    uint64_t nr_pages
    uint64_t nr_blocks         # of the backing file; 0: there is none
    uint64_t options
    uint64_t codecs[NR_CODECS] # as Store keeps its own; 0: none of that priority
    uint64_t file_device       # of the backing file, as os.stat says
    uint64_t file_inode
    uint8_t path[PATH_BYTES]   # zero-padded
    uint64_t pad1[2]
    # settings, a word each
    uint64_t limit_pages       # 0: none
    uint64_t wb_limited        # 1: wb_budget counts
    uint64_t wb_budget         # in 4 KiB
    uint64_t wb_batch
    # locks whose words name the holder
    uint32_t making            # of the constants
    uint32_t growing           # of zspages, where the limit is strict
    uint32_t processing        # one recompression or writeback at a time: only tried
    uint32_t pad2
    uint64_t instance          # numbers writebacks, so that no two have the same word
    uint64_t pad3[2]
    ZramStats stats
    ZramEntry journals[NR_SLOTS + 1][NR_ENTRIES]

# A device as nogil code sees it; its constants are copied out of the arena when they have been validated.
cdef struct ZramRef:
    PoolRef *pool
    Geometry *g
    ZramRoot *root
    ZramPage *pages
    uint64_t nr_pages
    uint64_t *blocks           # owner map of the backing file
    uint64_t *full             # its summary
    uint64_t nr_blocks
    uint64_t nr_words          # of the map

cdef struct Held:              # a page that this thread has locked
    uint64_t index
    uint64_t word              # as found
    uint32_t flags             # likewise, without the lock
    uint32_t entry             # of this process's journal

cdef inline uint32_t lock_holder(uint32_t flags) noexcept nogil:
    return flags >> HOLDER_SHIFT & 0x7F

cdef inline bint has_object(uint64_t word, uint32_t flags) noexcept nogil:
    return word != 0 and not flags & (ZRAM_SAME | ZRAM_WB)

cdef inline bint is_written(uint64_t word, uint32_t flags) noexcept nogil:
    return word != 0 or flags & ZRAM_SAME != 0

cdef uint64_t zram_nbytes(uint64_t nr_pages, uint64_t nr_blocks) noexcept nogil
cdef ZramRoot *zram_root(PoolRef *pool) noexcept nogil
cdef int zram_load(PoolRef *pool, ZramRef *z) noexcept nogil
cdef int zram_make(PoolRef *pool, ZramRoot *config, uint64_t timeout_ns) noexcept nogil
# Locks
cdef int page_lock(ZramRef *z, uint64_t index, Held *held, uint64_t timeout_ns) noexcept nogil
cdef int page_trylock(ZramRef *z, uint64_t index, Held *held) noexcept nogil
# After a time-out: can the page's lock be what a holder made of it?
cdef bint lock_makes_sense(ZramRef *z, uint64_t index) noexcept nogil
cdef void page_unlock(ZramRef *z, Held *held, uint32_t flags) noexcept nogil
cdef void entry_end(ZramRef *z, uint32_t slot, uint32_t entry) noexcept nogil
cdef inline ZramEntry *entry_of(ZramRef *z, uint32_t slot, uint32_t entry) noexcept nogil:
    return &z.root.journals[slot][entry]
