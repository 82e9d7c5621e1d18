# L2: one arena as this process sees it.
cimport cython
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport ArenaRef, PoolRef
from mempools.layout.structs cimport NR_POOLS

@cython.final
cdef class Mapping:
    # constant once made
    cdef ArenaRef ref              # ref.slot points at `own_slot` of a private arena, else at a page that fork wipes
    cdef readonly bytes key        # creation id, device and inode: what tells arenas apart
    cdef readonly str id           # creation id, 32 hexadecimal digits
    cdef readonly int fd           # holds the attach lock; -1: private
    cdef uint64_t own_slot[2]
    # written by open and close, under the module's lock
    cdef readonly int opens
    cdef readonly bint closed
    # written when the process registers, under `lock`
    cdef int lock_fd               # holds the live lock of this process's slot
    cdef object lock
    cdef int lock_pid              # the process that `lock` was made in
    # written when a pool is opened or destroyed, under the module's lock
    cdef PoolRef *open_pools[NR_POOLS]
    # statistics and close's check; any thread, relaxed
    cdef uint64_t exports          # live buffer exports
    cdef object __weakref__

    cpdef int ensure_slot(self) except -1
    cdef void export_acquire(self) noexcept nogil
    cdef void export_release(self) noexcept nogil
    cdef int pool_acquire(self, uint32_t index, PoolRef **found) except -1
    cdef void pool_release(self, PoolRef *pool) noexcept
    cdef void pool_gone(self, PoolRef *pool) noexcept
    cdef int _adopt(self, int slot) except -1
    cdef int _register(self) except -1
    cdef int _map(self, int fd, uint64_t nbytes, uint64_t align) except -1
    cdef int _load_pages(self) except -1
