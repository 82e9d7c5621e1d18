from libc.stdint cimport uint64_t
from mempools.check.state cimport Engine, Region

cdef Region *region_of(Engine *e, uint64_t addr) noexcept nogil
cdef uint64_t initial_value(Engine *e, uint64_t key, int size) noexcept nogil
cdef int locate(Engine *e, uint64_t key, int size) noexcept nogil
cdef uint64_t piece(Engine *e, uint64_t source, uint64_t to, uint64_t nbytes) noexcept nogil
cdef int protect(Engine *e, int prot) noexcept nogil
cdef int engine_region(Engine *e, void *lo, uint64_t nbytes, bint protect) noexcept nogil
cdef void engine_name(Engine *e, void *lo, uint64_t nbytes, const char *text) noexcept nogil
cdef int engine_initial(Engine *e, uint64_t addr, uint64_t value) noexcept nogil

cdef inline uint64_t key_in(Region *region, uint64_t addr) noexcept nogil:
    return addr - region.lo + region.key

