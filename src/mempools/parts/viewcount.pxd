from libc.stdint cimport uint64_t

cdef enum:
    VIEWS_FREED = 0xFFFFFFFFFFFFFFFF

# One view more; False: the piece has been freed.
cdef bint view_begin(uint64_t *count) noexcept nogil
cdef void view_end(uint64_t *count) noexcept nogil
# No view any more, if there is none: 0, and the piece is the caller's; else what there is, views or VIEWS_FREED.
cdef uint64_t views_end(uint64_t *count) noexcept nogil
cdef bint views_ended(uint64_t *count) noexcept nogil
