# What the scenarios of a store share: see storestage.py.
from libc.stdint cimport uint64_t
from mempools.check.scenarios.stage cimport Actor, Stage
from mempools.check.state cimport Engine
from mempools.pools.hashentry cimport Item, Key
from mempools.pools.zsgeometry cimport Geometry

cdef enum:
    ITEM = 1                   # Actor.found: handles of the two entries that the actor may bring in
    LEFT_ITEM = 3              # of the one that it has taken out, and not retired

    RETIRED = 0                # of put and delete: what becomes of what goes out
    LEFT = 1
    IF_ABSENT = 2

    NOW = 10                   # the time, as expiries are counted

    LINES = 2                  # a bucket of another stripe than the keys'

cdef Geometry *geometry() noexcept nogil
cdef uint64_t class_() noexcept nogil
cdef void find_key(Actor *actor, int which, uint64_t bucket) noexcept nogil
cdef int new_item(Actor *actor, int which, uint64_t mark, Item *item) noexcept nogil
cdef int give_item(Stage *stage, int cpu, int n, int which, uint64_t mark) noexcept nogil
cdef Stage *set_store(Engine *e, char *memory, uint64_t splits, uint64_t bucket) noexcept nogil
cdef void take_key(Actor *actor, Key *key, int which) noexcept nogil
cdef void end_item(Actor *actor, Item *item) noexcept nogil
cdef void own_item(Actor *actor, int n, Item *item) noexcept nogil
cdef void let_go(Actor *actor, Item *old, int how) noexcept nogil
cdef int put(Actor *actor, int which, int n, int how) noexcept nogil
cdef int delete(Actor *actor, int which, int how) noexcept nogil
cdef void end_left(Stage *stage, int cpu, bint died) noexcept nogil
cdef uint64_t get(Actor *actor, int which) noexcept nogil
cdef void put_a(void *arg) noexcept nogil
cdef void put_a_left(void *arg) noexcept nogil
cdef void delete_a(void *arg) noexcept nogil
cdef void delete_a_left(void *arg) noexcept nogil
cdef void get_a(void *arg) noexcept nogil
cdef void get_always(void *arg) noexcept nogil
cdef void move_a(void *arg) noexcept nogil
cdef void split(void *arg) noexcept nogil
cdef const char *store_wrong(Stage *stage, uint64_t nr) noexcept nogil
cdef const char *final_a(void *arg) noexcept nogil
cdef const char *final_both(void *arg) noexcept nogil
cdef uint64_t key_word(int which) noexcept nogil
cdef uint64_t value_of(int which, uint64_t mark) noexcept nogil
cdef void fill_buckets(Stage *stage) noexcept nogil
cdef uint64_t lines_of(Stage *stage, uint64_t bucket) noexcept nogil
cdef uint64_t lines_taken(Stage *stage) noexcept nogil
