# L3: a reference count with a part for each unit; percpuref.py has the story.
#
# An area of REF_BYTES, one cache line in each unit:
#   word 0 of each unit   CLOSED | epoch | count       the unit's part, while it is open
#   word 1 of unit 0      the shared word: flags | epoch | count
#   word 2 of unit 0      who runs the release of the epoch: epoch << 44 | registration, or all ones below the epoch: it is over
#
# Counts are of 40 bits, two's complement: a unit's part may be negative, for what is got on one CPU may be put on another.
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    REF_BYTES = 64
    REF_COUNT_BITS = 40
    REF_COUNT = 0xFFFFFFFFFF
    REF_EPOCH_ONE = 0x10000000000
    REF_EPOCH = 0x7FFFF0000000000        # 19 bits
    REF_CLOSED = 0x8000000000000000      # of a unit's word
    # of the shared word
    REF_DEAD = 0x8000000000000000        # killed
    REF_BIASED = 0x4000000000000000      # the units' parts belong to the count: it cannot be zero
    REF_INITIAL = 0x2000000000000000     # the reference that kill() drops
    REF_ATOMIC = 0x1000000000000000      # stays without parts when it is reinitialised
    REF_REINIT = 0x800000000000000       # may be reinitialised

    REF_OVER = 0xFFFFFFFFFFF             # of the releaser's word: its 44 bits below the epoch

    REF_ZERO = 1                         # status: this call brought it to zero, and its caller releases

cdef struct Ref:
    char *first                # unit 0's copy
    uint64_t stride            # bytes to the next one
    uint64_t nr_units

cdef inline uint64_t *ref_word(Ref *ref, uint64_t unit) noexcept nogil:
    return <uint64_t *>(ref.first + unit * ref.stride)

cdef inline uint64_t *ref_shared(Ref *ref) noexcept nogil:
    return <uint64_t *>(ref.first + 8)

cdef inline bint ref_is_zero(uint64_t shared) noexcept nogil:
    return shared & (REF_BIASED | REF_INITIAL | REF_COUNT) == 0

# A new one, in zeroed memory that nobody else knows: `flags` of the shared word.
cdef void ref_init(Ref *ref, uint64_t flags) noexcept nogil
# For any user, on `unit`, the one it runs on. OK; NOT_FOUND: it is zero (get), or dead (live).
cdef int ref_get(Ref *ref, uint64_t unit, uint64_t nr, bint live) noexcept nogil
# OK, REF_ZERO; DOUBLE_FREE: more than there are, and nothing has changed.
cdef int ref_put(Ref *ref, uint64_t unit, uint64_t nr) noexcept nogil
# The mode and the end. Nobody waits in any of them. BUSY: what they need is not so.
cdef int ref_kill(Ref *ref) noexcept nogil            # until all units are closed; ref_fold is to follow
cdef int ref_to_atomic(Ref *ref) noexcept nogil       # OK, REF_ZERO, DOUBLE_FREE: as ref_fold
cdef int ref_to_percpu(Ref *ref) noexcept nogil
cdef int ref_reinit(Ref *ref) noexcept nogil
cdef int ref_resurrect(Ref *ref) noexcept nogil
# Closes what is open and counts the parts in: OK; REF_ZERO; DOUBLE_FREE: more was put than got.
cdef int ref_fold(Ref *ref) noexcept nogil
# The registration of who releases, 0 for nobody yet, REF_OVER when it is over.
cdef uint64_t ref_releaser(Ref *ref) noexcept nogil
# OK for one, who releases and says when it is over; `dead`: 0, or a dead process that had claimed it. BUSY for all others.
cdef int ref_claim_release(Ref *ref, uint64_t registration, uint64_t dead) noexcept nogil
cdef void ref_released(Ref *ref) noexcept nogil
# The count with all parts; exact when nobody changes it.
cdef int64_t ref_count(Ref *ref) noexcept nogil
