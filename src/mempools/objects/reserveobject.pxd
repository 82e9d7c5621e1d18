cimport cython
from libc.stdint cimport uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.objects.poolobject cimport PoolObject
from mempools.pools.reserve cimport SlotCounts

cdef class ReserveObject(PoolObject):
    # constant once made
    cdef PoolRef *backend          # the pool of the elements; NULL: they are Python's objects
    cdef readonly uint64_t nbytes  # of an element; 0 likewise
    cdef uint64_t slice_ns         # the longest sleep before a waiter looks again
    cdef double next_look          # time.monotonic() at which a waiter looks for dead processes again
    # tasks of event loops that wait, and who holds what: plain Python
    cdef readonly object sleepers
    cdef readonly object holders
    cdef object __weakref__

    cdef int prepare(self, object repoll) except -1
    cdef object of_word(self, uint64_t word)
    cdef int put_back(self, uint64_t word) except -1
    cdef bint is_there(self) noexcept
    cdef int forked(self) except -1
    cdef int nr_waiters(self) except -1
    cdef int to_backend(self, object element) except -1
    cdef bint mend(self, int status) except -1
    cdef int take(self, uint64_t nr, uint64_t *words, uint64_t *waiter, uint64_t flags) except -100
    cdef int give_words(self, uint64_t *words, uint64_t nr, uint64_t *taken) except -100
    cdef int leave(self, uint64_t waiter) except -1
    cdef int given(self) except -1
    cdef int set_min(self, uint64_t min_nr) except -1
    cdef bint swept(self, bint waits) except -1
    cdef int note_wait(self, object seconds) except -1
    cdef int count(self, uint64_t *counter, uint64_t nr) except -1
    cdef int sum_counts(self, SlotCounts *total) except -1

cdef bint is_restricted() except -1
cdef int note_private(ReserveObject pool) except -1
