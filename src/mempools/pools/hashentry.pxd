# L3: entries of a store: see hashentry.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.hashtable cimport Stripe
from mempools.pools.zsgeometry cimport Geometry
from mempools.pools.zspin cimport Pinned

cdef enum:
    MAX_KEY = 65535
    MAX_VALUE = 1 << 30

    # what a key is; part of its identity, as in a dict
    KEY_BYTES = 0
    KEY_STR = 1
    KEY_RESERVED = 2           # entries of the store's own: see objects/storewords.py
    KEY_SPACE = 4              # beside KEY_BYTES or KEY_STR: the first SPACE_BYTES are the id of a namespace
    SPACE_BYTES = 4
    # beside it in an entry
    ENTRY_SPILLED = 0x80       # it has parts

    # Codec of an entry whose stored value is in a file. What it has in its place is STUB_BYTES long and begins with a word: how
    # many bytes that value has there; the rest is objects/storespill.py's. Such an entry has no parts.
    CODEC_FILE = 4
    STUB_BYTES = 32

    ENTRY_BYTES = 16           # header
    SPILLED_BYTES = 32         # header of an entry with parts
    PART_BYTES = 8             # header of a part
    # what an entry with parts and all its parts but the last have: as much as there is, or a page
    LARGE_OBJECT = 0x10000
    SMALL_OBJECT = 4096

    ACCESS_BITS = 28           # Entry.times is expiry << ACCESS_BITS | access: see hashclock.py

cdef struct Entry:             # an object of the pool: this, the key, the stored value; constant but for `times`
    uint64_t what              # key bytes | codec << 16 | (KEY_* | ENTRY_SPILLED) << 24 | logical bytes << 32
    uint64_t times             # when it ends, when it was read: see hashclock.pxd
    # of a spilled one only, which has LARGE_OBJECT or SMALL_OBJECT bytes:
    uint64_t next              # handle of the first part
    uint64_t stored            # bytes of the stored value
# A part: handle of the next one, 0: none; then bytes. All but the last have as many bytes as the entry.

cdef struct Key:
    const char *data
    uint64_t nbytes
    uint64_t kind
    uint64_t hash
    Stripe *stripe

cdef struct Item:              # an entry, and what is left of its parts
    uint64_t handle            # 0: none
    uint64_t parts             # behind this one
    uint64_t at                # where the object names the next one
    uint64_t size              # bytes of an object that has parts behind it
    uint64_t nr_key            # bytes
    uint64_t nr_stored
    uint64_t nr_logical
    uint64_t kind              # KEY_*
    uint64_t expiry            # 0: never; see hashclock.pxd
    uint64_t outside           # bytes that it has in a file

cdef struct Found:             # an entry that is pinned
    Pinned pinned
    Item item
    uint32_t codec
    uint64_t times             # of the entry, when it was opened
    const char *bytes          # of key and stored value, as many as are here
    uint64_t nr_here
    uint64_t next              # handle of the first part, 0: none
    uint64_t *slot             # set by index_find: where its word was
    uint64_t word

cdef inline uint64_t expiry_of(uint64_t times) noexcept nogil:
    return times >> ACCESS_BITS

cdef int entry_open(PoolRef *pool, Geometry *g, uint64_t handle, Found *found) noexcept nogil
cdef void entry_close(PoolRef *pool, Geometry *g, Found *found) noexcept nogil
cdef int entry_walk(PoolRef *pool, Geometry *g, Found *found, uint64_t skip, uint64_t nbytes, char *to, const char *other) noexcept nogil
cdef int entry_new(PoolRef *pool, Geometry *g, Key *key, uint64_t codec, uint64_t nr_logical, const char *data, uint64_t nr_stored, uint64_t times, uint64_t size, Item *item, uint64_t timeout_ns) noexcept nogil
cdef int entry_give(PoolRef *pool, Geometry *g, uint64_t handle, uint64_t parts, uint64_t owner) noexcept nogil
cdef int entry_retire(PoolRef *pool, Geometry *g, Item *item, uint64_t timeout_ns) noexcept nogil
cdef int entry_inherit(PoolRef *pool, Geometry *g, uint64_t handle, uint64_t times) noexcept nogil
cdef uint64_t entry_size(Geometry *g, uint64_t nr) noexcept nogil
cdef uint64_t entry_taken(Geometry *g, Item *item) noexcept nogil
