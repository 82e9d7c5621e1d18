from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef

cdef enum Contradiction:
    ORPHAN = 1                 # a granule without START whose predecessor is another owner's
    NOBODY = 2                 # an owner that is no live process and no structure
    FALSELY_FULL = 3           # a full bit over a word with a free granule
    UNSHARED = 4               # SHARED granules that no record names
    LOST_SHARE = 5             # a record that names no SHARED block, or nobody holds
    LOST_RUN = 6               # a pool's run of pages that is not the pools' in the page map
    LOST_PAGES = 7             # pages of the pools in the page map that no pool names

cdef struct Problem:
    uint64_t what
    uint64_t address           # of the granule, or the record's number
    uint64_t owner

# Walks a pool's owner maps, full bits and share records: how many problems there are; the first `room` of them are told.
cdef uint64_t map_check(PoolRef *pool, Problem *problems, uint64_t room) noexcept nogil
# Holds the runs of all pools against the page map; for the pool of pages.
cdef uint64_t pages_check(PoolRef *pages, Problem *problems, uint64_t room) noexcept nogil
