cimport cython
from libc.stdint cimport uint32_t, uint64_t
from mempools.objects.zsclasses cimport ZsClasses
from mempools.pools.zramslot cimport Expected
from mempools.pools.zramtable cimport Held, ZramRef
from mempools.pools.zspin cimport Pinned

@cython.final
cdef class ZramPages(ZsClasses):
    cdef ZramRef z                 # constant once opened
    cdef bint private
    cdef uint64_t next_block       # where to look for a free one: a hint
    cdef object __weakref__

    cdef uint64_t index_of(self, object index) except? 0xFFFFFFFFFFFFFFFF
    cdef bint may_look(self, int status, uint64_t index) except -1
    cdef int lock(self, uint64_t index, Held *held) except -1
    cdef uint64_t new_object(self, uint64_t nbytes) except? 0
    cdef int drop_object(self, uint64_t handle) except -1
    cdef int unpin(self, Pinned *pinned) except -1
    cdef int finish(self, Held *held) except -1
    cdef bint change(self, uint64_t index, uint64_t word, uint32_t flags, uint64_t *fresh, uint64_t block, Expected *expected) except -1
    cdef object get_object(self, uint64_t word, uint32_t flags)

cdef void expect(Expected *expected, int kind, uint64_t word, bint chosen) noexcept
