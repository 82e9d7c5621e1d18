# L2: the process-local views of an arena and of its pools that nogil code works on. Constants are copied out of the arena
# once, when they have been validated: no later change of the arena's bytes can lead an operation outside the mapping.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.structs cimport MAX_CHUNKS, PoolEntry, ProcSlot, ShareRecord, Superblock

cdef struct PoolRef

cdef struct ArenaRef:
    char *base                 # start of the mapping
    uint64_t nbytes
    int fd                     # of the file; -1: memory of this process alone
    # This process's slot, 1..NR_SLOTS, or 0; behind it the registration: generation << 8 | slot, never the same twice. On
    # a page that fork wipes: a child reads 0, registers, and may get its dead parent's slot, but not its registration.
    uint64_t *slot
    Superblock *super
    ProcSlot *slots
    PoolEntry *pools
    PoolRef *pages             # entry 0: the arena as a pool of pages

cdef struct ChunkRef:
    uint64_t *map
    uint64_t *summary
    uint64_t nr
    uint64_t nr_words
    uint64_t base              # as in Chunk
    uint64_t device
    uint64_t has_device
    uint64_t cookie
    uint64_t offset            # of the Chunk

cdef struct PoolRef:
    ArenaRef *arena
    PoolEntry *entry
    uint32_t index
    uint32_t kind
    uint32_t shift
    uint32_t foreign
    uint64_t limit
    char *root                 # NULL: none
    uint64_t root_nbytes
    ShareRecord *shares
    uint64_t nr_shares
    uint64_t nr_chunks         # published with release; grows only
    uint64_t serial            # of the entry when it was opened
    uint64_t gone              # 1: destroyed, or found destroyed after a fork; the entry may be another pool's
    uint64_t nr_objects        # pool objects of this process that work on this
    uint64_t updating          # a try-lock over the chunk list: 1 while a thread appends
    ChunkRef chunks[MAX_CHUNKS]  # oldest first

cdef struct Hint:              # where a handle starts to look; owned by one handle, read and written without order
    uint64_t chunk
    uint64_t word
