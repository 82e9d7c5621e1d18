# Scenarios of a Mempool's reserve; what queueing.py and resizing.py need of them.
from libc.stdint cimport uint64_t
from mempools.check.scenarios.stage cimport Actor, Stage
from mempools.check.state cimport Engine

cdef enum:
    SHIFT = 9                  # of the pool's own chunks, in which longer tables lie

# A pool that has not been made yet.
cdef Stage *set_empty(Engine *e, char *memory) noexcept nogil
# A pool whose reserve is to have min_nr elements and has curr_nr.
cdef Stage *set_reserve(Engine *e, char *memory, uint64_t min_nr, uint64_t curr_nr, uint64_t fifo) noexcept nogil
cdef uint64_t curr(Stage *stage) noexcept nogil
cdef int make(Actor *actor, uint64_t min_nr, uint64_t fifo) noexcept nogil
# What is there, without waiting; waiting; and back to the pool, or to the backend.
cdef bint take(Actor *actor, uint64_t nr) noexcept nogil
cdef void wait(Actor *actor, uint64_t nr, uint64_t *waiter) noexcept nogil
cdef void give(Actor *actor, uint64_t *words, uint64_t nr) noexcept nogil
cdef void give_one(void *arg) noexcept nogil
cdef void take_and_give(void *arg) noexcept nogil
# Everybody gave back what it took: `param` elements and those that the backend got are all that there were.
cdef const char *final_all(void *arg) noexcept nogil
# Nobody waits, nothing is promised, and the reserve has no more than it is to have.
cdef const char *final_queue(void *arg) noexcept nogil
