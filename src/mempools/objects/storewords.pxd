from libc.stdint cimport uint64_t
from mempools.objects.storeindex cimport StoreIndex

cdef uint64_t last_change(StoreIndex index) noexcept    # the store is open
