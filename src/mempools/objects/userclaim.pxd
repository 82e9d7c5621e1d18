from libc.stdint cimport uint64_t
from mempools.objects.genpoolobject cimport GenPool

cdef uint64_t user_claim(GenPool pool, uint64_t nbytes, object fn, object data) except? 0xFFFFFFFFFFFFFFFF
cdef bint claim_in(GenPool pool, object view, uint64_t nr, object fn, object data, uint64_t *address) except -1
