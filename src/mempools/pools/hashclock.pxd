# L3: what an entry of a store knows of time: see hashclock.py.
from libc.stdint cimport uint64_t
from mempools.pools.hashentry cimport ACCESS_BITS, Found

cdef enum:
    EXPIRY_SHIFT = 24          # 2^24 ns: a unit of expiries
    MAX_EXPIRY = 0xFFFFFFFFF
    TICK_SHIFT = 23            # 2^23 ns: a unit of accesses
    ACCESS_MASK = 0xFFFFFFF
    # access in a store with EVICT_LFU: count << LFU_BITS | time
    LFU_BITS = 20
    LFU_MASK = 0xFFFFF
    LFU_SHIFT = 7              # of a tick: units of 2^30 ns
    LFU_NEW = 5                # the count of a new entry

    # how a store evicts: kept in its root, see hashlimit.py
    EVICT_NONE = 0
    EVICT_LRU = 1
    EVICT_LFU = 2
    EVICT_TTL = 3

cdef inline bint has_expired(uint64_t expiry, uint64_t now) noexcept nogil:
    return expiry != 0 and now >= expiry

cdef uint64_t clock_now() noexcept nogil
cdef uint64_t clock_tick() noexcept nogil
cdef uint64_t clock_draw() noexcept nogil
cdef uint64_t expiry_after(double seconds) noexcept nogil
cdef double seconds_left(uint64_t expiry) noexcept nogil
cdef uint64_t entry_age(uint64_t times, uint64_t tick) noexcept nogil
cdef uint64_t lfu_count(uint64_t times, uint64_t tick) noexcept nogil
cdef uint64_t times_new(uint64_t evict, uint64_t expiry, uint64_t tick) noexcept nogil
cdef uint64_t times_read(uint64_t evict, uint64_t times, uint64_t tick, uint64_t number) noexcept nogil
cdef void entry_touch(Found *found, uint64_t evict, uint64_t tick, uint64_t number) noexcept nogil
cdef void entry_expire_at(Found *found, uint64_t expiry) noexcept nogil
