from libc.stdint cimport int64_t, uint64_t
from mempools.objects.zsclasses cimport ZsClasses
from mempools.pools.hashentry cimport Found, Item
from mempools.pools.hashevict cimport Moment

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef class StoreLimit(ZsClasses):
    cdef uint64_t evict        # EVICT_*
    cdef double seconds        # to live, of what is put without a word about it; 0: for ever
    # the last time that a reader of this object looked at the clock, and how many more it is for
    cdef uint64_t tick
    cdef uint64_t reads

    cdef int retry(self, int status) except -1
    cdef int end_entry(self, Item *item) except -1
    cdef void read_found(self, Found *found) noexcept
    cdef void take_moment(self, Moment *now) noexcept
    cdef int64_t make_room(self, uint64_t nbytes) except -1
    cdef bint may_be_short(self, uint64_t nbytes, int tries) except -1
    cdef int64_t expiry_for(self, object ttl) except -1
