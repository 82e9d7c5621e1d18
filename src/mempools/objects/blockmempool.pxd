cimport cython
from libc.stdint cimport uint64_t
from mempools.objects.block cimport Block
from mempools.objects.genpoolobject cimport GenPool
from mempools.objects.mempoolobject cimport Mempool

@cython.final
cdef class BlockMempool(Mempool):
    cdef readonly GenPool blocks   # what the elements are blocks of
    cdef bint poison

    cdef object block_at(self, uint64_t address)
    cdef object filled(self, Block block, uint64_t address)
    cdef int set_constants(self) except -1
    cdef bint is_made(self) noexcept
    cdef bint is_filled(self) noexcept
    cdef void note_filled(self, uint64_t filled) noexcept
    cdef int destroy_unfilled(self) except -1
    cdef int check_poison(self, uint64_t address) except -1
