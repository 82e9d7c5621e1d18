# The stage on which scenarios play: see stage.py.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from mempools.check.state cimport Engine, body_fn, final_fn
from mempools.layout.refs cimport ArenaRef, ChunkRef, Hint, PoolRef
from mempools.pools.mapcheck cimport Problem
from mempools.pools.shares cimport Share

cdef enum:
    NR_ACTORS = 4              # simulated CPUs of a scenario, at most
    STAGE_PAGES = 40
    STAGE_BYTES = STAGE_PAGES << 12
    NR_FOUND = 8               # values that an actor hands to the end condition
    FOREVER = 0x1000000000000000         # ns: a time-out that does not run out

cdef struct Actor:             # what one process has in its own memory; several CPUs of one process use one of them
    ArenaRef arena
    PoolRef pages
    PoolRef pool
    Hint hint
    uint64_t slot[2]
    int status                 # of what the CPU did last
    uint64_t address           # the block that it holds, 0: none
    Share held                 # likewise a share's hold, and a ticket
    Share ticket
    uint64_t found[NR_FOUND]

cdef struct Stage:
    char *memory               # STAGE_BYTES, whole pages; zeroed before setup
    uint64_t param             # for scenes that share their bodies
    uint64_t nr_pages          # of memory: STAGE_PAGES, unless the scene registers more and its setup says so
    # written by setup, constant then
    uint64_t nbytes            # of the arena, if there is one
    uint64_t *words            # the shared memory, for scenes without an arena and as mailboxes
    # written by the CPUs: put back before each execution, as all of this struct
    Actor actors[NR_ACTORS]
    Problem problems[4]

# ---- for setups, in this order: set_stage, what is there from the start, play
cdef Stage *set_stage(Engine *e, char *memory) noexcept nogil
cdef int set_file(Stage *stage, uint64_t nr_pages) noexcept nogil
cdef int set_arena(Stage *stage, uint64_t nr_pages, uint32_t nr_processes) noexcept nogil
cdef int set_pool(Stage *stage, uint64_t kind, uint64_t shift, uint64_t limit, uint64_t nr_shares, uint64_t root_nbytes, uint32_t *index) noexcept nogil
cdef int set_ref(Stage *stage, uint32_t actor, uint32_t index) noexcept nogil
cdef int set_taken(ChunkRef *chunk, uint64_t first, uint64_t nr, uint32_t owner) noexcept nogil

cdef int play(Engine *e, final_fn final, body_fn first, body_fn second, body_fn third) noexcept nogil

# ---- for bodies
cdef Stage *stage_of(void *arg) noexcept nogil
cdef Actor *me(Stage *stage) noexcept nogil
cdef uint32_t slot_of(Actor *actor) noexcept nogil
cdef void write_block(char *block, uint64_t mark) noexcept nogil
cdef uint64_t read_block(char *block) noexcept nogil
cdef void use_block(char *block, uint64_t mark) noexcept nogil
cdef void post(uint64_t *word, uint64_t value) noexcept nogil
cdef uint64_t take_post(uint64_t *word) noexcept nogil
cdef void recover(Actor *actor, uint32_t slot) noexcept nogil
cdef void recover_dead(Stage *stage, int cpu) noexcept nogil
# whole bodies
cdef void recover_the_first(void *arg) noexcept nogil
cdef void recover_the_second(void *arg) noexcept nogil
cdef void recover_both(void *arg) noexcept nogil

# ---- for end conditions
cdef const char *full_bits_wrong(uint64_t *map, uint64_t *summary, uint64_t nr_words) noexcept nogil
cdef const char *map_wrong(uint64_t *map, uint64_t *summary, uint64_t nr, uint64_t nr_taken) noexcept nogil
cdef const char *arena_wrong(Stage *stage, Actor *actor) noexcept nogil
cdef uint64_t nr_owned(PoolRef *pool, uint32_t owner) noexcept nogil
