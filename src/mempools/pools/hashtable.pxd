# L3: what a store keeps in the arena: see hashtable.py.
#
#   root      ZsRoot, ZsClass[] of its chain (store_chain): the store's pool is a ZsPool (zstable.pxd); then IndexRoot
#   blocks    of the pool's own chunks: those of a ZsPool, and segments of the two tables of lines
#
# A line is LINE_WORDS words, a cache line: NR_LINE_SLOTS slots, and the reference to a further line.
#   slot   0, or tag << TAG_SHIFT | handle of an entry; the tag is the top of the key's hash
#   ref    of a bucket's line: 0, or number of a further line + 1
#          of a further line: 0 nobody's; LINE_END | its stripe; or number of a further line + 1
# Invariants while nobody holds the stripe's lock and its journal is empty:
#   a key has one slot at most, in the chain of the bucket that its hash has; the entry is OWNER_STRUCT's, as its parts are
#   a slot of a bucket from index_nr_buckets on means nothing: a split that did not come to its end has left it
from libc.stdint cimport uint64_t, uint32_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.zstable cimport NR_SEGMENTS

cdef enum:
    # Pages of a zspage of a store: with few of them less stays unused where there are few values of many sizes, with many of them
    # where there are many.
    SMALL_CHAIN = 4
    LARGE_CHAIN = 8
    LARGE_STORE = 0x2000000    # bytes it may have, from which on it has LARGE_CHAIN
    NR_STRIPES = 64
    LINE_WORDS = 8
    NR_LINE_SLOTS = 7
    FIRST_BUCKETS = 64         # in the root, as so many further lines; a multiple of NR_STRIPES, so that a split stays in a stripe
    MAX_BUCKETS = 0x8000000
    TAG_SHIFT = 56
    SPILL_SHIFT = 40

    # Stripe.op, low byte; above it: parts of `new` (24 bits), parts of `old` (32 bits)
    OP_NONE = 0
    OP_PUT = 1
    OP_DELETE = 2
    OP_SPLIT = 3
    OP_EXPIRY = 4              # an entry gets another expiry

    # IndexRoot.bound
    BOUND_EVICT = 56
    MAX_LIMIT = 0xFFFFFFFFFFFFFF

cdef enum BoundBits:
    BOUND_CHOSEN = 0x8000000000000000

cdef enum LineBits:
    LINE_END = 0x8000000000000000

cdef struct Stripe:            # 192 bytes
    # written under the lock: it, and the journal, what its holder is at, read by recovery only
    uint32_t lock
    uint32_t expiring          # statistics, as below: entries that have an expiry
    uint64_t op
    uint64_t link              # OP_PUT, OP_DELETE: offset of the slot
    uint64_t new               # the slot's words: what it becomes, what it was
    uint64_t old
    uint64_t bucket            # OP_SPLIT: the bucket that comes into being
    uint64_t line              # whatever the op: a further line that is being taken, + 1
    uint64_t line_bucket       # for whose chain
    # statistics, written under the lock, read by everyone; sums over the stripe's entries, the first three without KEY_RESERVED
    uint64_t count
    uint64_t logical           # bytes of the values
    uint64_t stored            # bytes of the values as they are stored
    uint64_t taken             # bytes of the slots of their zspages
    uint64_t objects           # entries and parts
    # likewise, and nobody counts them again
    uint64_t changes           # commits, ever
    uint64_t evictions         # entries that went because others needed their place, ever
    uint64_t expirations       # expired entries that were taken away, ever
    # as the first ones
    uint64_t outside           # entries whose stored value is in a file: see hashentry.pxd
    uint64_t outside_bytes     # what they have there
    uint64_t spaced            # entries of namespaces
    uint64_t pad4[5]

cdef struct IndexRoot:         # all zero is an empty index
    uint64_t codec             # the store's own codec: 0 until chosen, see index_choose_codec
    uint64_t bound             # 0 until chosen; then BOUND_CHOSEN | EVICT_* << BOUND_EVICT | limit, 0: none. See hashlimit.py
    uint64_t splits            # buckets beyond FIRST_BUCKETS
    uint64_t next_line         # where to look for a further line: a hint
    uint64_t dictionary        # number of the current one, 0: none; see objects/storewords.py
    uint64_t recount           # not 0: `bytes` may be too high
    uint64_t spill             # 0, or number of the file that grows << SPILL_SHIFT | bytes reserved there: see objects/storespill.py
    uint64_t pad1[1]
    # offsets of the tables' segments, 0: none yet; then constant. Segment 0 is in the root, segment k has 4096 << k bytes.
    uint64_t buckets[NR_SEGMENTS]
    uint64_t lines[NR_SEGMENTS]
    uint64_t spaces            # number of the last change of the namespaces; see objects/storewords.py
    uint64_t pad2[5]
    uint64_t bytes             # of a store with a limit: what its values have as stored, and what is coming in. By whoever has a stripe's lock
    uint64_t pad3[7]
    Stripe stripes[NR_STRIPES]
    uint64_t first_buckets[FIRST_BUCKETS * LINE_WORDS]
    uint64_t first_lines[FIRST_BUCKETS * LINE_WORDS]

cdef inline uint64_t tag_of(uint64_t word) noexcept nogil:    # of a slot's word, or of a hash
    return word >> TAG_SHIFT

cdef inline uint64_t handle_in(uint64_t word) noexcept nogil:
    return word << 8 >> 8

cdef uint64_t store_chain(uint64_t nbytes) noexcept nogil
cdef uint64_t index_root_nbytes(uint64_t chain) noexcept nogil
cdef uint64_t index_root_offset(uint64_t chain) noexcept nogil
cdef IndexRoot *index_root(PoolRef *pool) noexcept nogil
cdef bint index_has_room(PoolRef *pool) noexcept nogil
cdef bint index_is_there(PoolRef *pool) noexcept nogil
cdef uint64_t index_nr_buckets(PoolRef *pool) noexcept nogil
cdef uint64_t half_of(uint64_t nr) noexcept nogil
cdef uint64_t bucket_of(uint64_t hash, uint64_t nr) noexcept nogil
cdef Stripe *stripe_of(PoolRef *pool, uint64_t bucket) noexcept nogil
cdef uint64_t *bucket_line(PoolRef *pool, uint64_t bucket) noexcept nogil
cdef uint64_t *next_line(PoolRef *pool, uint64_t *line) noexcept nogil
cdef uint64_t most_lines(PoolRef *pool) noexcept nogil
cdef int index_choose_codec(PoolRef *pool, uint64_t codec, uint64_t *chosen) noexcept nogil
# Under the stripe's lock.
cdef int free_slot(PoolRef *pool, uint64_t bucket, uint64_t **slot) noexcept nogil
cdef void mend_line(PoolRef *pool, Stripe *stripe) noexcept nogil
# Without a lock.
cdef int grow_lines(PoolRef *pool) noexcept nogil
cdef int grow_buckets(PoolRef *pool) noexcept nogil
