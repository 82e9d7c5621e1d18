# L3: a number that many add to, a part of it in each unit; unitcounter.py has the story.
#
#   each unit   PART      what was added on the unit
#               FOLDED    how much of it is in the total
#   unit 0      BASE      what set() and limited_add() have added
#               TOTAL     the sum of what is folded
#               LOCK      the registration of who folds, 0: nobody
#               MISSED    1: somebody had to fold and could not
#
# What all change lies on a cache line of its own, and so does each part.
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    COUNTER_BYTES = 128
    COUNTER_ALIGN = 64
    PART = 0
    FOLDED = 1
    BASE = 8
    TOTAL = 9
    LOCK = 10
    MISSED = 11

cdef struct Counter:
    char *first                # unit 0's copy
    uint64_t stride            # bytes to the next one
    uint64_t nr_units

cdef inline uint64_t *counter_word(Counter *counter, uint64_t unit, uint64_t i) noexcept nogil:
    return <uint64_t *>(counter.first + unit * counter.stride) + i

# Adds on `unit`, the one that the caller runs on, and folds it if its unfolded part has come to `batch` (0: never): OK, or BUSY
# where another process is at it. `registration`: of this process.
cdef int counter_add(Counter *counter, uint64_t unit, uint64_t amount, uint64_t batch, uint64_t registration) noexcept nogil
# All units are folded: OK, or BUSY.
cdef int counter_sync(Counter *counter, uint64_t registration) noexcept nogil
# The registration of who folds; and what it has begun is finished by another, when it is dead. BUSY: another has done so.
cdef uint64_t counter_folder(Counter *counter) noexcept nogil
cdef int counter_take_over(Counter *counter, uint64_t dead, uint64_t registration) noexcept nogil
cdef int64_t counter_sum(Counter *counter) noexcept nogil
# Whether `value` is an estimate: one word for all units, else the sum.
cdef bint counter_read(Counter *counter, int64_t *value) noexcept nogil
cdef void counter_set(Counter *counter, uint64_t value) noexcept nogil
# -1, 0 or 1: the number beside another one.
cdef int counter_compare(Counter *counter, int64_t other, uint64_t batch) noexcept nogil
cdef bint counter_limited_add(Counter *counter, int64_t limit, int64_t amount, uint64_t batch) noexcept nogil
