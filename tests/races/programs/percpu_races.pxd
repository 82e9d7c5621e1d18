# The functions of percpu_races.py: C functions that never touch Python.
from libc.stdint cimport int64_t, uint64_t
from mempools.check.state cimport Engine, body_fn

cdef void name_words(Engine *e, char *memory) noexcept nogil
cdef int cast_two(Engine *e, char *memory, body_fn first, body_fn second) noexcept nogil
cdef void add(void *arg, int which, uint64_t change, const char *site) noexcept nogil

cdef void wait_for_io(void *arg) noexcept nogil
cdef void finish_io(void *arg) noexcept nogil
cdef void alloc(void *arg, bint keeps_lock) noexcept nogil
cdef void alloc_new(void *arg) noexcept nogil
cdef void alloc_keeps_lock(void *arg) noexcept nogil
cdef void alloc_old(void *arg) noexcept nogil
cdef void free_by_mutex(void *arg) noexcept nogil
cdef void free_by_lock(void *arg) noexcept nogil
cdef int scene_reclaim(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_reclaim_mutex(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_reclaim_keeps_lock(Engine *e, char *memory, uint64_t nbytes) noexcept nogil

cdef void worker(void *arg, bint noio) noexcept nogil
cdef void worker_noio(void *arg) noexcept nogil
cdef void worker_io(void *arg) noexcept nogil
cdef void alloc_in_fs(void *arg) noexcept nogil
cdef int scene_noio(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_noio_worker_in_reclaim(Engine *e, char *memory, uint64_t nbytes) noexcept nogil

cdef int find_area(void *arg) noexcept nogil
cdef void alloc_area(void *arg, bint restarts) noexcept nogil
cdef void alloc_restarts(void *arg) noexcept nogil
cdef void alloc_goes_on(void *arg) noexcept nogil
cdef void free_area(void *arg) noexcept nogil
cdef int scene_restart(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_restart_not(Engine *e, char *memory, uint64_t nbytes) noexcept nogil

cdef void touch(void *arg, const char *why) noexcept nogil
cdef void populate(void *arg) noexcept nogil
cdef void alloc_atomic(void *arg) noexcept nogil
cdef void reclaim(void *arg, bint mutex, bint spin) noexcept nogil
cdef void reclaim_both(void *arg) noexcept nogil
cdef void reclaim_lock(void *arg) noexcept nogil
cdef void reclaim_mutex(void *arg) noexcept nogil
cdef int scene_unlink(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_unlink_lock(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_unlink_mutex(Engine *e, char *memory, uint64_t nbytes) noexcept nogil

cdef void free_one(void *arg) noexcept nogil
cdef void free_irqsave(void *arg) noexcept nogil
cdef void alloc_irqsave(void *arg) noexcept nogil
cdef const char *final_freed(void *arg) noexcept nogil
cdef int scene_interrupt(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_interrupt_enabled(Engine *e, char *memory, uint64_t nbytes) noexcept nogil

cdef bint try_pool(void *arg, bint joins) noexcept nogil
cdef void wait_for_refill(void *arg) noexcept nogil
cdef void wait_in_fs(void *arg) noexcept nogil
cdef void poll_in_fs(void *arg) noexcept nogil
cdef void refill(void *arg) noexcept nogil
cdef void refill_or_not(void *arg) noexcept nogil
cdef int scene_pool(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_pool_waits(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_pool_waits_outside(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_pool_no_memory(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
cdef int scene_pool_waits_no_memory(Engine *e, char *memory, uint64_t nbytes) noexcept nogil
