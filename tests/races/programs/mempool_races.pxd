# The functions of mempool_races.py: C functions that never touch Python.
from libc.stdint cimport uint32_t, uint64_t
from mempools.check.state cimport Engine, body_fn

cdef void name_words(Engine *e, char *memory) noexcept nogil
cdef uint64_t reserve(void *arg) noexcept nogil
cdef void take_and_hand_over(void *arg, int wmb) noexcept nogil
cdef void push_or_free(void *arg) noexcept nogil
cdef void hand_over(void *arg) noexcept nogil
cdef void hand_over_early_wmb(void *arg) noexcept nogil
cdef void hand_over_no_wmb(void *arg) noexcept nogil
cdef void free_what_comes(void *arg) noexcept nogil
cdef void free_what_comes_mb(void *arg) noexcept nogil
cdef const char *final_reserve(void *arg) noexcept nogil
cdef int scene_depletion(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_depletion_old(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_depletion_early(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef void free_then_alloc(void *arg) noexcept nogil
cdef int scene_depletion_waiter(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef bint try_reserve(void *arg, int join) noexcept nogil
cdef void alloc(void *arg) noexcept nogil
cdef void alloc_join_late(void *arg) noexcept nogil
cdef void push(void *arg) noexcept nogil
cdef void free(void *arg) noexcept nogil
cdef void free_wake_first(void *arg) noexcept nogil
cdef void alloc_and_free(void *arg) noexcept nogil
cdef int scene_wake(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_wake_join_late(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_wake_first(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef void wait_lockless(void *arg) noexcept nogil
cdef void free_lockless(void *arg) noexcept nogil
cdef int scene_wake_lockless(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef void give(void *arg, int whom) noexcept nogil
cdef void pass_on(void *arg) noexcept nogil
cdef void take_and_give(void *arg, int whom, bint passes_on) noexcept nogil
cdef void user_all(void *arg) noexcept nogil
cdef void user_one(void *arg) noexcept nogil
cdef void user_one_of_all(void *arg) noexcept nogil
cdef void user_one_passed_on(void *arg) noexcept nogil
cdef void give_all(void *arg) noexcept nogil
cdef void give_one(void *arg) noexcept nogil
cdef void give_one_of_all(void *arg) noexcept nogil
cdef int cast_wakers(Engine *e, char *memory, body_fn user, body_fn giver) noexcept nogil
cdef int scene_wake_all(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_wake_one(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_wake_one_of_all(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_wake_one_passed_on(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef void free_zero(void *arg, bint wanted, bint checked) noexcept nogil
cdef void free_zero_one(void *arg) noexcept nogil
cdef void free_zero_less(void *arg) noexcept nogil
cdef void free_zero_less_or_equal(void *arg) noexcept nogil
cdef int scene_zero(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_zero_less(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_zero_less_or_equal(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
