# L4: an arena's table of flights as Python calls it.
from mempools.objects.poolobject cimport PoolObject

cdef class FlightTable(PoolObject):
    cdef object __weakref__

    cdef int retry(self, int status) except -1
