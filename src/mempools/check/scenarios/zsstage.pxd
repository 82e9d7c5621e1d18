# What the scenarios of a ZsPool share: see zsstage.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.check.scenarios.stage cimport Actor, Stage
from mempools.check.state cimport Engine
from mempools.pools.zsgeometry cimport Geometry
from mempools.pools.zspin cimport Pinned

cdef enum:
    ZS_NBYTES = 2000           # of an object: two slots a zspage
    MARK = 77                  # what the objects say at the beginning

    # Actor.found, of every actor
    OBJECT = 3                 # handle of the object it is about
    OTHER = 4                  # of another one, in the other zspage
    NEXT = 6                   # that the next object of the class will have
    BLOCK = 5                  # the pages of a zspage to be, of this process

cdef Stage *set_objects(Engine *e, char *memory, uint32_t owner) noexcept nogil
cdef uint64_t new_object(Actor *actor, uint32_t owner, uint64_t mark) noexcept nogil
# Actor i is reading the object from the start; the body that ends it.
cdef int set_reader(Stage *stage, int i) noexcept nogil
cdef void end_reading(void *arg) noexcept nogil
cdef Geometry *geometry(Actor *actor) noexcept nogil
cdef uint64_t class_(Actor *actor) noexcept nogil
cdef void lock(Actor *actor, uint64_t c) noexcept nogil
cdef bint pin(Actor *actor, Pinned *pinned) noexcept nogil
cdef void unpin(Actor *actor, Pinned *pinned) noexcept nogil
cdef bint read_object(Actor *actor, uint64_t *mark) noexcept nogil
cdef int move(Actor *actor) noexcept nogil
cdef int free_object(Actor *actor, uint64_t handle) noexcept nogil
cdef int retire_object(Actor *actor, uint64_t handle) noexcept nogil
cdef int defer_object(Actor *actor, uint64_t handle) noexcept nogil
cdef uint64_t drain(Actor *actor, uint64_t slot) noexcept nogil
cdef int set_queue(Stage *stage, int i) noexcept nogil
cdef uint64_t alloc(Actor *actor, uint64_t mark) noexcept nogil
cdef const char *pool_wrong(Stage *stage, Actor *actor, uint64_t objects) noexcept nogil
cdef const char *final_two(void *arg) noexcept nogil
