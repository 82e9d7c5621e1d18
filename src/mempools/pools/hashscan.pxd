# L3: looking over the whole index of a store: see hashscan.py.
from libc.stdint cimport uint64_t
from mempools.layout.refs cimport PoolRef

cdef struct IndexStats:
    uint64_t count
    uint64_t logical
    uint64_t stored
    uint64_t taken

cdef struct IndexReport:       # what index_check_stripe found: numbers of entries, or of words
    uint64_t entries
    uint64_t bad_refs          # refs that lead nowhere: the rest of the chain is lost
    uint64_t bad_blocks        # entries that are not exactly one block of the structure
    uint64_t misplaced         # keys in a bucket or with a tag that their hash does not give
    uint64_t loops             # chains longer than there is room for
    uint64_t bad_counts        # statistics that differ from the sums over the entries
    uint64_t bad_bucket        # where the first of these is

cdef void index_stats(PoolRef *pool, IndexStats *stats) noexcept nogil
# Copies the keys of the buckets from cursor[0] on as records: u32 of (KEY_* << 16 | length), then the key. OK: the buffer
# has used[0] bytes, cursor[0] moved on; EXHAUSTED: not one bucket fits, used[0] bytes are needed; else as of index_lock.
cdef int index_scan(PoolRef *pool, uint64_t *cursor, char *buffer, uint64_t nbytes, uint64_t *used, uint64_t timeout_ns) noexcept nogil
cdef int index_check_stripe(PoolRef *pool, uint64_t stripe, IndexReport *report, uint64_t timeout_ns) noexcept nogil
# Under all locks: OK with the granules that the entries have and those that the owner map gives the structure.
cdef int index_check_blocks(PoolRef *pool, uint64_t *of_entries, uint64_t *of_map, uint64_t timeout_ns) noexcept nogil
