cimport cython
from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from mempools.layout.refs cimport Hint
from mempools.objects.poolobject cimport PoolObject

@cython.final
cdef class GenPool(PoolObject):
    cdef Hint hint
    cdef Hint c_hint               # of C callers: see c_api
    cdef object user_algorithm     # (callable, data): one reference, so that both change together. Of the first handle.
    cdef list buffers              # [(first address, last address, Py_buffer holder)] of foreign memory with contents
    cdef object __weakref__

    cdef GenPool root(self)
    cdef object the_user_algorithm(self)
    cdef bint has_user_algorithm(self) noexcept
    cdef uint64_t claim_block(self, uint64_t nbytes, object algo, object data) except? 0xFFFFFFFFFFFFFFFF
    cdef uintptr_t memory_at(self, uint64_t address, uint64_t nbytes) except 0
