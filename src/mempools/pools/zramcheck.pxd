# L3: looking at a Zram: see zramcheck.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.pools.zramtable cimport ZramRef

cdef struct ZramSums:          # over the pages
    uint64_t stored            # written, wherever they are
    uint64_t nbytes            # of objects
    uint64_t objects
    uint64_t same
    uint64_t huge              # of objects that are pages as they are
    uint64_t incompressible
    uint64_t idle              # and neither of one word nor written back
    uint64_t written_back

cdef struct PageReport:        # what does not add up
    uint64_t bad_words         # pages whose word names no live object of its size, or no block that is the device's
    uint64_t bad_flags         # pages whose flags contradict each other
    uint64_t locked            # pages that somebody had locked all the time: not looked at
    uint64_t objects           # and how many pages have one
    uint64_t blocks            # likewise

cdef void zram_sums(ZramRef *z, uint64_t first, uint64_t last, ZramSums *sums) noexcept nogil
cdef void zram_check(ZramRef *z, uint64_t first, uint64_t last, PageReport *report, uint64_t timeout_ns) noexcept nogil
cdef uint64_t zram_objects(ZramRef *z) noexcept nogil
cdef uint64_t zram_blocks(ZramRef *z) noexcept nogil
cdef bint zram_quiet(ZramRef *z) noexcept nogil
