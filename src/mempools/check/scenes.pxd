# What a scenario is, and the list of them.
from libc.stdint cimport uint64_t
from mempools.check.state cimport Engine

# Builds the scenario natively in `memory` (zeroed pages, simulated CPUs see them at the same addresses; inaccessible to plain
# code while they run). Sets e.bodies, e.arg, e.final, and where there are any e.handlers, e.may_die, e.max_deaths; names
# ordinary memory that the CPUs share, or that must be as it was before each execution, with engine_region(e, p, n, False).
# Not 0: it could not.
ctypedef int (*setup_fn)(Engine *e, char *memory, uint64_t nbytes) noexcept nogil

cdef struct Scene:
    const char *name           # "genpool.claim"
    const char *about          # one line: what must not happen
    const char *races          # the races it is about: "I14", ""
    int nr_cpus
    uint64_t nbytes            # of memory; whole pages, 0: none
    setup_fn setup

cdef enum:
    MAX_SCENES = 400

cdef int register_scene(const char *name, const char *about, const char *races, int nr_cpus, uint64_t nbytes, setup_fn setup) except -1
cdef Scene *find_scene(str name) except? NULL
