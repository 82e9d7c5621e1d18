from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.mapping cimport Mapping
from mempools.layout.refs cimport PoolRef

cdef bint tracing              # set by trace_allocations
cdef bint watching             # set by lockorder.py: there is a watcher of waits

cdef class PoolObject:
    cdef readonly Mapping mapping
    cdef PoolRef *ref            # one for all objects of the pool in this process
    cdef PoolObject parent       # of a handle: the object it was made from
    cdef readonly str name
    cdef readonly object arena   # the Arena that this pool was opened from, for pickling; None: a private one

    cdef int open_ref(self, Mapping mapping, str name, uint64_t kind, uint64_t shift, uint64_t limit, uint64_t foreign, uint64_t root_nbytes, uint64_t nr_shares, bint create) except -1
    cdef uint64_t free_pages(self) noexcept
    cdef int check_open(self) except -1
    cdef bint may_retry(self, int status) except -1

    cdef tuple site_key(self, uint64_t address)
    cdef int note_alloc(self, uint64_t address, uint64_t nbytes) except -1
    cdef int note_free(self, uint64_t address) except -1
    cdef str describe(self, uint64_t address)
    cdef int fail(self, int status, uint64_t address, uint64_t nbytes) except -1
    cdef dict holders_of(self, PoolRef *ref)

    # of a Mempool, for its elements
    cdef int keep_element(self, PoolRef *backend, uint64_t address) except -100
    cdef object blocks_of(self)
    cdef int entered(self, object element) except -1
    cdef int left(self, object element) except -1
