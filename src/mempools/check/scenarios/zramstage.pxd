# What the scenarios of a Zram share: see zramstage.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.check.scenarios.stage cimport Actor, Stage
from mempools.check.state cimport Engine
from mempools.pools.zramtable cimport Held, ZramRef

cdef enum:
    MEMORY_PAGES = 64          # of a scene
    SCENE_BYTES = MEMORY_PAGES << 12
    SIZE = 16                  # of an object, as its header says

    # Actor.found: [0] how often it was served, [1] what it read
    PAGE_OLD = 3               # handle of the object that page 0 has at the beginning
    PAGE_NEW = 4               # of the object that this actor is to put there
    PAGE_BLOCK = 5             # that this actor has reserved
    PAGE_WORD = 6              # of page 0 at the beginning

# ---- setups
cdef Stage *set_device(Engine *e, char *memory) noexcept nogil
cdef Stage *set_pages(Engine *e, char *memory, uint32_t writers) noexcept nogil
cdef int set_chosen(Stage *stage) noexcept nogil
cdef int set_written_back(Stage *stage) noexcept nogil
# ---- what bodies are made of
cdef ZramRef *z_at(uint32_t i) noexcept nogil
cdef ZramRef *z_of(Actor *actor) noexcept nogil
cdef void lock(ZramRef *z, uint64_t index, Held *held) noexcept nogil
cdef void finish(ZramRef *z, Held *held) noexcept nogil
cdef void put(ZramRef *z, uint64_t index, uint64_t handle) noexcept nogil
cdef bint write_back(Stage *stage, uint32_t i) noexcept nogil
# ---- bodies
cdef void write_it(void *arg) noexcept nogil
cdef void write_it_back(void *arg) noexcept nogil
cdef void repeat_word(void *arg) noexcept nogil
cdef void look_at_word(void *arg) noexcept nogil
cdef void make_it(void *arg) noexcept nogil
cdef void make_another(void *arg) noexcept nogil
cdef void load_it(void *arg) noexcept nogil
# ---- end conditions
cdef bint died(Stage *stage) noexcept nogil
cdef const char *device_wrong(Stage *stage, uint64_t objects, uint64_t blocks) noexcept nogil
cdef uint64_t page_word() noexcept nogil
cdef const char *final_repeats(void *arg) noexcept nogil
cdef const char *final_made(void *arg) noexcept nogil
cdef const char *final_touched(void *arg) noexcept nogil
