# L3: looking over the whole index of a store: see hashscan.py.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.zsgeometry cimport Geometry

cdef enum:
    SCAN_END = 0x100000000        # the cursor of a scan that is over
    # whose keys a scan is for: a namespace's, by its id, or
    SPACE_OWN = 0                 # those of no namespace
    SPACE_ALL = 0x7FFFFFFF        # both

cdef struct Record:            # of a key, which follows it
    uint16_t nr_key            # bytes
    uint16_t kind              # KEY_*
    uint32_t nr_stored
    uint32_t nr_logical

cdef struct IndexStats:
    uint64_t count
    uint64_t logical
    uint64_t stored
    uint64_t taken
    uint64_t objects
    uint64_t outside
    uint64_t outside_bytes
    uint64_t expiring
    uint64_t evictions
    uint64_t expirations
    uint64_t spaced            # of count: entries of namespaces

cdef struct IndexReport:       # what index_check_stripe found: numbers of entries, or of words
    uint64_t entries
    uint64_t bad_refs          # slots whose handle names no entry
    uint64_t bad_parts         # entries that have not the parts that they should have
    uint64_t not_kept          # entries or parts that are not the structure's own
    uint64_t misplaced         # keys in a bucket or with a tag that their hash does not give
    uint64_t loops             # chains that have no end
    uint64_t bad_counts        # statistics that differ from the sums over the entries
    uint64_t bad_bucket        # where the last of these is

cdef void index_stats(PoolRef *pool, IndexStats *stats) noexcept nogil
cdef uint64_t index_table_nbytes(PoolRef *pool) noexcept nogil
# Copies users' keys that have not expired by `now`, from cursor[0] on, each behind its Record. OK: the buffer has used[0] bytes,
# cursor[0] moved on, over `most` buckets at most; EXHAUSTED: not one bucket fits, used[0] bytes are needed; else as of index_lock and zs_pin.
cdef int index_scan(PoolRef *pool, Geometry *g, uint64_t space, uint64_t *cursor, uint64_t now, char *buffer, uint64_t nbytes, uint64_t *used, uint64_t most, uint64_t timeout_ns) noexcept nogil
cdef int index_check_stripe(PoolRef *pool, Geometry *g, uint64_t stripe, IndexReport *report, uint64_t timeout_ns) noexcept nogil
# Under all locks: OK with the objects that the entries have and those that the pool gives the structure, and by how much a store
# with a limit counts more bytes than its values have.
cdef int index_check_objects(PoolRef *pool, uint64_t *of_entries, uint64_t *of_pool, uint64_t *too_many, uint64_t timeout_ns) noexcept nogil
