# The functions of genpool_races.py: C functions that never touch Python.
from libc.stdint cimport int64_t, uint64_t
from mempools.check.state cimport Engine, body_fn

cdef void name_words(Engine *e, char *memory) noexcept nogil
cdef int cast_two(Engine *e, char *memory, body_fn first, body_fn second) noexcept nogil
cdef bint set_bits(uint64_t *which, uint64_t mask) noexcept nogil
cdef void clear_bits(uint64_t *which, uint64_t mask) noexcept nogil

cdef bint claim(void *arg, bint clears_all) noexcept nogil
cdef void use_last(void *arg) noexcept nogil
cdef void claim_two(void *arg, bint clears_all) noexcept nogil
cdef void claim_exactly(void *arg) noexcept nogil
cdef void claim_all(void *arg) noexcept nogil
cdef void claim_one(void *arg) noexcept nogil
cdef const char *final_clear(void *arg) noexcept nogil
cdef int scene_roll_back(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_roll_back_all(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef void claim_until(void *arg) noexcept nogil
cdef int scene_retry(Engine *e, char *memory, uint64_t nbytes) noexcept nogil

cdef void use_and_free(void *arg) noexcept nogil
cdef void claim_and_use(void *arg) noexcept nogil
cdef int scene_bit(Engine *e, char *memory, uint64_t nbytes) noexcept nogil

cdef int find_run(uint64_t map, int start) noexcept nogil
cdef void search_chunks(void *arg, bint carries) noexcept nogil
cdef void search_each(void *arg) noexcept nogil
cdef void search_on(void *arg) noexcept nogil
cdef int scene_start(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_start_carried(Engine *e, char *memory, uint64_t nbytes) noexcept nogil

cdef void claim_in_vain(void *arg) noexcept nogil
cdef void find_one(void *arg) noexcept nogil
cdef int scene_empty(Engine *e, char *memory, uint64_t nbytes) noexcept nogil

cdef void alloc_counted(void *arg, uint64_t counted) noexcept nogil
cdef void alloc_free(void *arg) noexcept nogil
cdef void alloc_free_unrounded(void *arg) noexcept nogil
cdef void look_at_avail(void *arg) noexcept nogil
cdef const char *final_avail(void *arg) noexcept nogil
cdef int scene_avail(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_avail_unrounded(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_avail_watched(Engine *e, char *memory, uint64_t nbytes) noexcept nogil

cdef uint64_t pop(void *arg, bint tagged) noexcept nogil
cdef void push(void *arg, uint64_t i, bint tagged) noexcept nogil
cdef uint64_t pop_bit(void *arg) noexcept nogil
cdef void own(void *arg, uint64_t i) noexcept nogil
cdef void disown(void *arg, uint64_t i) noexcept nogil
cdef void pop_two(void *arg, bint tagged) noexcept nogil
cdef void pop_two_push(void *arg, bint tagged) noexcept nogil
cdef void pop_two_bare(void *arg) noexcept nogil
cdef void pop_two_push_bare(void *arg) noexcept nogil
cdef void pop_two_tagged(void *arg) noexcept nogil
cdef void pop_two_push_tagged(void *arg) noexcept nogil
cdef void pop_two_bits(void *arg) noexcept nogil
cdef void pop_two_push_bits(void *arg) noexcept nogil
cdef int scene_aba(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_aba_tagged(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_aba_bits(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
