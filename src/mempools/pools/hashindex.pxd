# L3: the index of a store: see hashindex.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef

cdef enum:
    NR_STRIPES = 64
    ENTRY_SHIFT = 6            # granule of a store's pool
    MAX_KEY = 65535
    MAX_VALUE = 1 << 30
    MAX_TRIES = 64             # optimistic reads before a reader takes the stripe's lock

    # what a key is; part of its identity, as in a dict
    KEY_BYTES = 0
    KEY_STR = 1
    KEY_RESERVED = 2           # entries of the store's own: see objects/storewords.py

    # Stripe.op
    OP_NONE = 0
    OP_PUT = 1
    OP_DELETE = 2

cdef struct Stripe:            # 128 bytes
    # written under the lock; `changes` is read by everyone
    uint32_t lock
    uint32_t pad1
    uint64_t changes           # commits of this stripe, ever
    # the journal: what the lock's holder is at; read by recovery only
    uint64_t op
    uint64_t link              # offset of the word that is changed: a bucket, or Entry.chain of the predecessor
    uint64_t new               # offset of the entry that comes in, 0: none
    uint64_t old               # offset of the entry that goes out, 0: none
    uint64_t pad2[2]
    # statistics, written under the lock, read by everyone; each the sum over the stripe's entries
    uint64_t count
    uint64_t logical           # bytes of the values
    uint64_t stored            # bytes of the values as they are stored
    uint64_t taken             # bytes of the entries' granules
    uint64_t pad3[4]

cdef struct IndexRoot:         # PoolRef.root; all zero is an empty index
    uint64_t codec             # the store's own codec: 0 until chosen, see index_choose_codec
    uint64_t dictionary        # number of the current one, 0: none; see objects/storewords.py
    uint64_t pad[6]
    Stripe stripes[NR_STRIPES]
    # then uint64_t buckets[]: offsets of entries, 0: none

cdef struct Entry:             # 24 bytes, then the key, then the stored value; constant but for the next ref in `chain`
    uint64_t chain             # offset of the next entry of the bucket (48 bits) | key bytes << 48
    uint64_t what              # hash tag (32 bits) | codec << 32 | KEY_* << 40
    uint64_t sizes             # stored bytes (32 bits) | logical bytes << 32

cdef struct Key:
    const char *data
    uint64_t nbytes
    uint64_t kind
    uint64_t hash
    uint64_t bucket
    Stripe *stripe

cdef struct Found:             # where a reader is: an entry, seen at `changes`
    uint64_t changes
    uint64_t offset
    const char *stored         # in the arena: copy, then ask index_unchanged
    uint64_t nr_stored
    uint64_t nr_logical
    uint32_t codec

cdef inline uint64_t ref_of(uint64_t chain) noexcept nogil:
    """The next entry's offset."""
    return chain << 16 >> 16

cdef inline uint64_t chain_of(uint64_t key_nbytes, uint64_t ref) noexcept nogil:
    return key_nbytes << 48 | ref

cdef inline uint32_t low32(uint64_t word) noexcept nogil:
    return <uint32_t>word

cdef uint64_t index_root_nbytes(uint64_t nr_buckets) noexcept nogil
cdef uint64_t index_nr_buckets(PoolRef *pool) noexcept nogil
cdef uint64_t *index_bucket(PoolRef *pool, uint64_t bucket) noexcept nogil
cdef Stripe *index_stripe(PoolRef *pool, uint64_t bucket) noexcept nogil
cdef int index_key(PoolRef *pool, Key *key, const char *data, uint64_t nbytes, uint64_t kind) noexcept nogil
cdef void index_place(PoolRef *pool, Key *key, Entry *entry) noexcept nogil
cdef uint64_t index_choose_codec(PoolRef *pool, uint64_t codec) noexcept nogil

# Entries: the caller allocates entry_nbytes of the pool, fills them, and hands the block over with index_put.
cdef uint64_t entry_nbytes(uint64_t key_nbytes, uint64_t stored_nbytes) noexcept nogil
cdef int entry_size(PoolRef *pool, uint64_t offset, uint64_t *nbytes) noexcept nogil
cdef Entry *entry_at(PoolRef *pool, uint64_t offset, uint64_t *key_nbytes, uint64_t *stored_nbytes) noexcept nogil
cdef char *entry_fill(PoolRef *pool, uint64_t offset, Key *key, uint32_t codec, uint64_t stored_nbytes, uint64_t logical_nbytes) noexcept nogil

# Readers. index_find: OK, NOT_FOUND, BUSY (too many changes: take the lock), CORRUPT.
cdef int index_find(PoolRef *pool, Key *key, Found *found) noexcept nogil
cdef bint index_unchanged(Key *key, Found *found) noexcept nogil
# For callers with the stripe's lock, and for the above: see there.
cdef uint64_t next_ref(uint64_t *word) noexcept nogil
cdef int walk(PoolRef *pool, Key *key, Found *found, uint64_t **link) noexcept nogil
