cimport cython
from libc.stdint cimport uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.machine.atomics cimport fetch_add_relaxed, read_once, write_once
from mempools.objects.poolobject cimport PoolObject
from mempools.pools.reserve cimport SlotCounts

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define MP_GIL 0
    #else
    #define MP_GIL 1
    #endif
    """
    const bint MP_GIL              # does one thread of a process run Python at a time?

# Statistics of this process. Whoever counts runs Python: where that is one thread at a time, it need not be atomic.
cdef inline void add_count(uint64_t *counter, uint64_t nr) noexcept:
    if MP_GIL:
        write_once(counter, read_once(counter, b"reserveobject.count") + nr, b"reserveobject.count")
    else:
        fetch_add_relaxed(counter, nr, b"reserveobject.count")

cdef enum:
    LOCK_NS = 20_000_000           # for the reserve's lock, until somebody looks whether its holder lives

cdef class ReserveObject(PoolObject):
    # constant once made
    cdef PoolRef *backend          # the pool of the elements; NULL: they are Python's objects
    cdef readonly uint64_t nbytes  # of an element; 0 likewise
    cdef bint private              # in memory of this process alone
    cdef uint64_t slice_ns         # the longest sleep before a waiter looks again
    cdef double next_look          # monotonic() at which a waiter looks for dead processes again
    # tasks of event loops that wait, and who holds what: plain Python
    cdef readonly object sleepers
    cdef readonly object holders
    cdef object __weakref__

    # what kinds of elements do in their own way; of_word: behind a word that has been taken out of the reserve, and if it raises
    # the element is back
    cdef object of_word(self, uint64_t word)
    cdef int to_backend(self, object element) except -1

    cdef int prepare(self, object repoll) except -1
    cdef bint is_there(self) noexcept
    cdef int forked(self) except -1
    cdef int nr_waiters(self) except -1
    cdef bint mend(self, int status) except -1
    cdef int take(self, uint64_t nr, uint64_t *words, uint64_t *waiter, uint64_t flags) except -100
    cdef int give_words(self, uint64_t *words, uint64_t nr, uint64_t *taken) except -100
    cdef int leave(self, uint64_t waiter) except -1
    cdef int given(self) except -1
    cdef int set_min(self, uint64_t min_nr) except -1
    cdef bint swept(self, bint waits) except -1
    cdef bint sleep(self, uint64_t waiter, double seconds) except -1
    cdef int note_wait(self, double seconds) except -1
    cdef int sum_counts(self, SlotCounts *total) except -1
