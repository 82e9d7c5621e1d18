# The functions of zsmalloc_races.py: C functions that never touch Python.
from libc.stdint cimport uint64_t
from mempools.check.state cimport Engine, body_fn

cdef void name_words(Engine *e, char *memory) noexcept nogil
cdef int cast_two(Engine *e, char *memory, body_fn first, body_fn second) noexcept nogil
cdef void pin(void *arg) noexcept nogil
cdef bint clear_pin(void *arg) noexcept nogil
cdef void unpin(void *arg) noexcept nogil
cdef int place(void *arg) noexcept nogil
cdef uint64_t handle(int slot, bint pinned) noexcept nogil
cdef void free_slot(void *arg, int slot) noexcept nogil

cdef bint copy_object(void *arg) noexcept nogil
cdef void migrate(void *arg) noexcept nogil
cdef void migrate_bare(void *arg) noexcept nogil
cdef void migrate_then_or(void *arg) noexcept nogil
cdef void migrate_store_unpins(void *arg) noexcept nogil
cdef void free_object(void *arg) noexcept nogil
cdef void free_looked_before(void *arg) noexcept nogil
cdef void read_object(void *arg) noexcept nogil
cdef void write_object(void *arg) noexcept nogil
cdef const char *final_one_object(void *arg) noexcept nogil
cdef const char *final_no_object(void *arg) noexcept nogil
cdef int scene_pin(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_pin_lost(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_pin_then_or(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_pin_looked_before(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_unpin(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_unpin_3(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_unpin_store(Engine *e, char *memory, uint64_t nbytes) noexcept nogil

cdef void copy_and_unpin(void *arg) noexcept nogil
cdef void reuse_slot(void *arg) noexcept nogil
cdef int scene_leak(Engine *e, char *memory, uint64_t nbytes) noexcept nogil

cdef void malloc_object(void *arg, bint keeps_bit) noexcept nogil
cdef void malloc_whole(void *arg) noexcept nogil
cdef void malloc_keeps_bit(void *arg) noexcept nogil
cdef int scene_born(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_born_pinned(Engine *e, char *memory, uint64_t nbytes) noexcept nogil

cdef void store_field(void *arg) noexcept nogil
cdef void load_field(void *arg) noexcept nogil
cdef void set_first(void *arg) noexcept nogil
cdef void set_second(void *arg) noexcept nogil
cdef const char *final_fields(void *arg) noexcept nogil
cdef int scene_torn(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_fields(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
