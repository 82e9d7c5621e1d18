from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum Change:
    ADD = 0
    AND = 1
    OR = 2
    XCHG = 3

# `nbytes` is 1, 2, 4 or 8, `where` a multiple of it; values are modulo 2 to the 8 * nbytes. All relaxed.
cdef uint64_t any_read(char *where, uint64_t nbytes) noexcept nogil
cdef uint64_t any_change(char *where, uint64_t nbytes, int change, uint64_t operand) noexcept nogil
cdef uint64_t any_cmpxchg(char *where, uint64_t nbytes, uint64_t old, uint64_t new) noexcept nogil

cdef inline uint64_t any_mask(uint64_t nbytes) noexcept nogil:
    return ~<uint64_t>0 >> (64 - 8 * nbytes)

cdef inline int64_t any_signed(uint64_t value, uint64_t nbytes) noexcept nogil:
    return <int64_t>(value << (64 - 8 * nbytes)) >> (64 - 8 * nbytes)
