# L3: what one does to a page of a Zram: see zramslot.py.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from mempools.pools.zramtable cimport Held, ZramRef

cdef enum:
    OVER_LIMIT = 1             # what zram_alloc says beside a status

# What must be so for a change to be made: the page as the caller knows it.
cdef struct Expected:
    bint any                   # nothing need be so
    bint chosen                # post-processing chose the page, and nobody has touched it since
    uint64_t word
    uint32_t kind              # ZRAM_SAME, ZRAM_WB, or 0

cdef int zram_look(ZramRef *z, uint64_t index, uint32_t now, bint touch, Held *held, uint64_t timeout_ns) noexcept nogil
cdef int zram_alloc(ZramRef *z, uint64_t nbytes, uint64_t *handle, uint64_t timeout_ns) noexcept nogil
cdef uint64_t zram_total_pages(ZramRef *z) noexcept nogil
cdef bint is_expected(Held *held, Expected *expected) noexcept nogil
# The page is locked; afterwards it is not, and change_finish has to be called until it says OK.
cdef void page_change(ZramRef *z, Held *held, uint64_t word, uint32_t flags, uint32_t now, uint64_t fresh, uint64_t block) noexcept nogil
cdef int change_finish(ZramRef *z, Held *held, uint64_t timeout_ns) noexcept nogil
cdef bint page_mark(ZramRef *z, uint64_t index, uint32_t flags, uint32_t mark) noexcept nogil
cdef void page_unmark(ZramRef *z, uint64_t index, uint32_t mark) noexcept nogil
# Blocks of the backing file; -1: there is none free.
cdef int64_t block_claim(ZramRef *z, uint64_t first) noexcept nogil
cdef void block_release(ZramRef *z, uint64_t block) noexcept nogil
cdef bint block_transfer(ZramRef *z, uint64_t block, uint32_t from_owner, uint32_t to_owner) noexcept nogil
cdef inline uint64_t block_of(uint64_t word) noexcept nogil:
    return <uint32_t>word
