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

cdef struct Arrived:
    uint64_t address
    uint64_t nbytes
    Share ticket

cdef tuple send(object holder, str what, PoolObject pool, Sent *sent, uint64_t keeper)
cdef int unpack(object where, Arrived *arrived) except -1
cdef int receive(PoolObject pool, Arrived *arrived, Share *held) except -1
