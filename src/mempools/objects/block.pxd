cimport cython
from libc.stdint cimport uint32_t, uint64_t
from mempools.objects.genpoolobject cimport GenPool
from mempools.objects.poolobject cimport PoolObject
from mempools.pools.shares cimport Share

@cython.final
cdef class Block:
    # constant once made
    cdef readonly GenPool pool
    cdef uint64_t address
    cdef readonly uint64_t nbytes
    cdef PoolObject keeper         # the Mempool that gets it back, None: `pool`
    cdef uint64_t registration     # of the process that holds the block: a forked child has another
    # written by free and by views; any thread
    cdef uint64_t exports          # live views, or VIEWS_FREED (parts/viewcount.py)
    # written by pickling, under the block's critical section
    cdef bint shared
    cdef Share share

    cdef int check_made(self) except -1
    cdef uint64_t let_go(self) noexcept
    cdef int give_back(self) except -100

cdef Block empty_block(GenPool pool, uint64_t nbytes)
cdef void fill_block(Block block, uint64_t address) noexcept
