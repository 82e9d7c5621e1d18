from libc.stdint cimport uint64_t
from mempools.check.state cimport Engine

cdef void probed(void *addr) noexcept nogil        # the explorer itself does an operation there
cdef bint intruded() noexcept nogil                # another thread has been at the memory since the last `forget`

cdef class Places:
    cdef Engine *engine
    cdef list arenas           # of this execution, weakly
    cdef list shape            # key, size and name of each place: the same in every execution
    cdef dict names            # by key

    cdef int find(self, object state) except -1
    cdef int add(self, uint64_t address, uint64_t nbytes, uint64_t key, str name, list shape) except -1
    cdef uint64_t key_of(self, uint64_t address) noexcept
    cdef uint64_t address_of(self, uint64_t key) noexcept
    cdef int check_values(self) except -1
    cdef void write_back(self) noexcept
    cdef bint outlived(self)
    cdef str name_of(self, uint64_t key)
    cdef void forget(self) noexcept
