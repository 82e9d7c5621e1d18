from libc.stdint cimport uint64_t
from mempools.objects.poolobject cimport PoolObject
from mempools.pools.shares cimport Share

cdef struct Sent:              # of a block or an area
    uint64_t address
    uint64_t nbytes
    uint64_t registration      # of the process that holds it
    uint64_t *views            # parts/viewcount.py
    # written under the holder's critical section
    bint *shared
    Share *share

cdef tuple send(object holder, str what, PoolObject pool, Sent *sent, uint64_t keeper)
cdef int receive(PoolObject pool, tuple where, Share *held) except -1
