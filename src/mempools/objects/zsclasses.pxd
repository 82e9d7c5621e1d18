from libc.stdint cimport uint64_t
from mempools.objects.poolobject cimport PoolObject
from mempools.pools.zsgeometry cimport Geometry
from mempools.pools.zsrehome cimport Rehoming

cdef class ZsClasses(PoolObject):
    cdef Geometry *g               # constant once opened

    cdef bint may_call(self, int status) except -1
    cdef int check_locks(self) except -1
    cdef uint64_t compact_pages(self, uint64_t most, bint to_system) except? 0
    cdef bint begin_compaction(self) except -1
    cdef void note_fixed(self, Rehoming *state) noexcept
    cdef uint64_t drain_all(self) except? 0
    cdef int fail_handle(self, int status, uint64_t handle) except -1
