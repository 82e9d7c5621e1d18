# L2: what lies where in an arena. Offsets count bytes from the arena's start; nothing here is a pointer.
#
#   page 0          Superblock
#   slots           ProcSlot[NR_SLOTS + 1], entry 0 unused
#   pools           PoolEntry[NR_POOLS]; entry 0 is the arena's own pool of pages
#   page chunk      Chunk, summary and owner map of the pages
#   pages           everything else: chunks of pools, tables, each a run of pages
#
# Invariants of an owner map (parts/owners.pxd has the values), at every instant, dead processes included:
#   a granule without START has a predecessor with the same owner       (blocks are claimed upwards, released downwards)
#   owner in 1..NR_SLOTS        the block is that process's: when it dies, recovery releases it
#   owner == OWNER_SHARED       exactly one LIVE or FREEING ShareRecord of the pool names the block
#   owner == OWNER_STRUCT       a structure that lives in the arena names the block (pool, table, store entry)
#   owner == OWNER_RESERVE      the reserve of exactly one Mempool names the block
#   owner == OWNER_META         never allocated, never free: the arena's own header pages, the tail of the last word
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    LAYOUT_VERSION = 5
    PAGE_SHIFT = 12
    PAGE_BYTES = 4096
    NR_SLOTS = 120
    NR_POOLS = 64
    NAME_BYTES = 64            # a pool's name, UTF-8, zero-padded
    MAX_CHUNKS = 64            # of one pool
    NR_LANES = 91              # holders and tickets of one shared block

    KIND_PAGES = 1             # pool kinds
    KIND_GENPOOL = 2
    KIND_STORE = 3
    KIND_MEMPOOL = 4
    KIND_PERCPU = 5
    KIND_PERCPU_POOL = 6       # its root is a Mempool's
    KIND_ZSPOOL = 7
    KIND_ZRAM = 8              # its root begins with a ZsPool's
    KIND_METRICS = 9
    KIND_FLIGHTS = 10
    NR_KINDS = 16

    # low byte of Chunk.state; see layout/offline.py
    CHUNK_ONLINE = 0
    CHUNK_OFFLINE = 1          # the pages of its last granules are the arena's
    CHUNK_LEAVING = 2
    CHUNK_EXTENDING = 3
    CHUNK_OPENING = 4

    # low byte of ProcSlot.state, PoolEntry.state and ShareRecord.state; see the modules that own them
    STATE_FREE = 0
    STATE_SETUP = 1
    STATE_LIVE = 2
    STATE_DROPPING = 3

cdef enum ArenaFlags:
    ARENA_PERSIST = 1          # stays when its last process has gone (`mempools pack`): gc leaves it alone

cdef struct Superblock:
    # constant after create; checksum covers the bytes before it
    uint64_t magic
    uint64_t version
    uint64_t byte_order        # 0x0102030405060708 as the creator writes it
    uint64_t page_bytes
    uint64_t nbytes
    uint64_t id_lo             # creation id, random
    uint64_t id_hi
    uint64_t flags
    uint64_t created_ns        # CLOCK_REALTIME
    uint64_t slots             # offset of ProcSlot[NR_SLOTS + 1]
    uint64_t pools             # offset of PoolEntry[NR_POOLS]
    uint64_t reserved[4]
    uint64_t checksum
    # written once: READY last of all
    uint64_t ready
    uint64_t pad1[7]
    # written by whoever opens a pool for the first time
    uint32_t directory_lock
    uint32_t pad2
    uint64_t nr_made           # pools, ever; under the lock
    uint64_t pad3[6]
    # statistics
    uint64_t nr_recovered      # processes whose remains were swept, ever
    # written once, by whoever makes the first hole in the file
    uint64_t holes             # 1: free pages may not exist (backing.py)
    uint64_t pad4[6]

cdef struct ProcSlot:          # 64 bytes
    # written by the slot's process when it registers, by recovery when it has swept
    uint64_t state             # generation << 8 | STATE_FREE or STATE_LIVE
    uint64_t pid
    uint64_t start_time        # clock ticks after boot, field 22 of /proc/PID/stat
    uint64_t pid_namespace     # inode of /proc/self/ns/pid
    uint64_t reserved[4]

cdef struct PoolEntry:         # 256 bytes
    uint64_t state             # slot of the creator << 8 | STATE_*
    # constant while LIVE
    uint64_t kind
    uint64_t shift             # granule = 1 << shift bytes
    uint64_t limit             # bytes the pool may take from the arena's pages; 0: as many as there are
    uint64_t foreign           # 1: the blocks lie outside the arena, only their metadata inside
    uint64_t root              # offset and bytes of the kind's own table, zeroed at creation (0, 0: none)
    uint64_t root_nbytes
    uint64_t shares            # offset of ShareRecord[nr_shares]
    uint64_t nr_shares
    uint8_t name[NAME_BYTES]
    # written when a chunk is added
    uint64_t head              # offset of the newest Chunk, 0: none; a push-only list
    # written by set_algo, one word so that algorithm and data change together: algorithm << 56 | data
    uint64_t algo
    # which processes have the pool open, a bit per slot: destroy refuses while others do
    uint64_t users[2]
    uint64_t serial            # constant while LIVE: which pool this is, of all that the arena ever had
    uint64_t reserved[10]

cdef struct Chunk:             # 128 bytes; all but state and run_nbytes are constant once a list of chunks has it
    uint64_t magic
    uint64_t next              # the next older chunk, 0: none
    uint64_t nr                # granules
    uint64_t map               # offset of the owner map: nr bytes, rounded up to words; the surplus lanes are META
    uint64_t summary           # offset of one bit per map word: 1 = seen full (a hint, see parts/ownermap.py)
    uint64_t base              # address of granule 0: an arena offset, or a foreign address
    uint64_t device            # second address of granule 0
    uint64_t has_device
    uint64_t cookie            # given at add, handed back at alloc (the kernel's "owner")
    uint64_t run               # the chunk's pages: offset and bytes (0, 0: part of the arena's header)
    uint64_t run_nbytes        # as many as it has now: see offline.py
    uint64_t depth             # chunks that are older; at most MAX_CHUNKS - 1
    uint64_t whole_nbytes      # bytes of its pages when it is online
    uint64_t state             # CHUNK_*; granules that it keeps << 16 | slot of who is at it << 8 | CHUNK_*
    uint64_t reserved[2]

cdef struct ShareRecord:       # 128 bytes
    uint64_t state             # generation << 16 | slot << 8 | STATE_*
    uint64_t address           # constant while not FREE
    uint64_t nr                # granules, constant while not FREE; top byte: the pool that gets them back, 0: this one
    uint64_t lanes[13]         # 7 bytes each: 0, or a holder's slot, or a ticket's sender slot | START; above: the generation

cdef enum:
    KEEPER_SHIFT = 56          # of ShareRecord.nr

cdef inline uint64_t granules_of(uint64_t nr) noexcept nogil:
    return nr & ((<uint64_t>1 << KEEPER_SHIFT) - 1)

cdef inline uint64_t keeper_of(uint64_t nr) noexcept nogil:
    return nr >> KEEPER_SHIFT
