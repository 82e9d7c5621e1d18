# Scenarios of shared blocks; what holding.py needs of them.
from libc.stdint cimport uint32_t, uint64_t
from mempools.check.scenarios.stage cimport Actor, Stage
from mempools.check.state cimport Engine

# All granules are taken but `nr` from _FIRST on; process 1 has the first of them.
cdef Stage *set_pool_of(Engine *e, char *memory, uint64_t nr_shares, uint64_t nr) noexcept nogil
# Two holders, of which only `holder` is left; everybody has the ticket, which is used up.
cdef int set_last_holder(Stage *stage, uint32_t holder) noexcept nogil
# Process 2 has the second granule.
cdef int set_second(Stage *stage) noexcept nogil
cdef int redeem(Actor *actor) noexcept nogil
cdef void drop(Actor *actor) noexcept nogil
cdef void just_drop(void *arg) noexcept nogil
cdef void share_own(void *arg) noexcept nogil
# Nothing is shared any more, and all granules that could be had are free.
cdef const char *final_free(void *arg) noexcept nogil
cdef const char *final_not_shared(Actor *actor) noexcept nogil
