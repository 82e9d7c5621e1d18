# The state of an exploration: simulated CPUs, the execution that is running, and the nodes of the search tree on its path.
from libc.stdint cimport int16_t, int32_t, uint8_t, uint64_t
from mempools.check.ops cimport MAX_CPUS, Op
from mempools.check.views cimport Memory

cdef enum:
    MAX_EVENTS = 4000          # of one execution
    MAX_REGIONS = 256
    MAX_MUTATIONS = 4
    MAX_SITES = 256
    MAX_NAMES = 64
    NR_SPIN_READS = 32         # different messages read in one turn of a spin loop
    NR_FRAMES = 2              # of a CPU: its body, an interrupt's handler
    STACK_BYTES = 131072
    FRAME_FINAL = 2            # no CPU's: the end condition

    # Choices beside the messages of a location (bits 0 to 47)
    CHOICE_ONLY = 0            # there is nothing to choose
    MAX_PROMISES = 8
    CHOICE_PROMISE = 48        # and the following: the CPU promises a store
    CHOICE_FULFIL = 56         # the store that was promised
    CHOICE_TIMEOUT = 58        # a sleeper's time runs out
    CHOICE_INTERRUPT = 60      # the CPU's handler runs before this operation
    CHOICE_DIE = 61            # the process dies before this operation

cdef enum CpuState:
    CPU_READY = 0              # its next operation is known
    CPU_ASLEEP                 # in a futex queue
    CPU_FINISHED
    CPU_DEAD

cdef enum Ending:
    ENDED_COMPLETE = 0         # every CPU finished or died
    ENDED_ASLEEP               # all that could go on has been explored elsewhere (sleep sets)
    ENDED_SPINNING             # a spin loop read a value that is not the newest: explored elsewhere
    ENDED_DEADLOCK
    ENDED_FAILED               # a body or the end condition said so, a race, a fault
    ENDED_BOUND                # a bound was hit
    ENDED_BROKEN               # a promise was not kept: no execution
    ENDED_CUT                  # at the depth where the tree is split

cdef enum Bound:               # a bit each
    BOUND_STEPS = 1            # events of an execution
    BOUND_MESSAGES = 2         # locations, messages of a location or of an execution
    BOUND_SPINS = 4            # turns of a spin loop that writes
    BOUND_PREEMPTIONS = 8
    BOUND_EXECUTIONS = 16
    BOUND_SECONDS = 32

cdef struct Cpu:
    int state
    int frame                  # 0: the body runs, 1: the handler
    bint may_die
    bint has_handler
    bint promises              # its operation is to put a promised message,
    bint promises_rmw          # of a read-modify-write
    bint has_read              # since its last full barrier, and not as an acquire: stores may overtake that
    bint interrupted           # the handler has run
    int section                # event at which its RCU section began, plus 1; 0: it is in none
    uint64_t awaits            # CPUs whose sections its grace period waits for
    Op op                      # its next operation
    Op saved                   # the body's, while the handler runs
    int loc
    int saved_loc
    uint64_t result
    int nr_events              # of this CPU so far
    int last                   # its newest event, -1
    int32_t spin_locs[NR_SPIN_READS]       # locations read since the last turn of a spin loop,
    int32_t spin_read[NR_SPIN_READS]       # and which message
    int nr_spin_locs
    bint spin_wrote
    int spins                  # turns of loops that wrote
    int waker                  # event of the wake-up, -1
    int last_wait              # its newest futex wait or time-out, -1
    int32_t sleeps_on          # location of the futex, -1
    bint holds                 # a store is held back (mutation: swapped with the next)
    Op held
    void *sp[NR_FRAMES]

cdef struct Event:
    int32_t cpu
    int32_t number             # of its CPU, from 1
    int32_t loc                # -1: none
    int32_t kind               # OpKind as it went: a failed compare-and-swap is OP_READ; -CHOICE_... for the others
    int32_t choice
    int32_t read_uid
    int32_t lo_uid             # the oldest message it could have read
    int32_t write_uid
    int32_t next_reader        # older event that read the location
    int32_t full               # acts as a full barrier
    int32_t asked              # the operation as it was asked for, as one number: is it the same when it is done again?
    uint64_t asked_a
    int16_t clock[MAX_CPUS]    # how many events of each CPU happen before it, itself included

cdef struct Node:              # before event i
    int32_t cpu
    int32_t choice             # -1: not chosen yet
    uint64_t remaining         # choices of this CPU not yet explored
    int32_t done               # CPUs whose choices were all explored, a bit each
    int32_t backtrack          # CPUs to explore
    int32_t fixed              # part of a given prefix: nothing else is explored here
    int32_t preemptions
    int32_t tried              # choices explored, of all its CPUs
    uint64_t sleep[MAX_CPUS]   # choices of a CPU's next operation that were explored from here or before

cdef struct LogRecord:         # one line of a trace; kept only while `logging`
    int32_t cpu
    int32_t event              # -1: a local step
    int32_t frame
    int32_t choice
    int32_t inserted
    int32_t newest_event       # that wrote the newest message at the time; -1 the initial value
    int32_t read_event
    int32_t before_event       # inserted: that wrote the next message
    int32_t woken              # CPUs, a bit each
    int32_t failed             # a compare-and-swap that did not swap
    Op op
    uint64_t value             # read
    uint64_t written

cdef struct Seen:              # a store that may be promised
    uint64_t addr
    uint64_t value
    int size
    int order
    bint rmw                   # by a read-modify-write

cdef struct Mutation:
    const char *site
    int kind                   # Mutant

cdef struct Site:
    const char *name
    int kind                   # OpKind
    int order

cdef struct Name:
    uint64_t lo
    uint64_t hi
    const char *text

cdef struct Region:
    uint64_t lo                # where it is in this execution
    uint64_t hi
    uint64_t key               # of `lo`, the same in every execution: what operations carry as their address
    uint8_t *shadow            # the bytes after setup; NULL: in place
    bint protected_            # inaccessible while CPUs run; else ordinary memory that is copied back

ctypedef const char *(*final_fn)(void *arg) noexcept nogil
ctypedef void (*body_fn)(void *arg) noexcept nogil

cdef struct Engine

cdef struct Fibers:            # what bodies run on that are not C: somebody else's stacks; all NULL: the engine's own
    int (*begin)(Engine *e) noexcept nogil            # an execution: regions and bodies anew; not 0: impossible
    void (*switch_to)(Engine *e, int cpu) noexcept nogil   # goes on with that CPU, -1 the explorer; returns when gone on with
    void (*finish)(Engine *e) noexcept nogil          # its end condition; bodies in the middle are brought to their end
    void (*late)(Engine *e) noexcept nogil            # before each of their operations meanwhile
    # An operation that is no step, before it is done natively: by the explorer itself or another thread, on other memory.
    void (*aside)(Engine *e, const char *site, void *addr) noexcept nogil
    const char *(*name_site)(const char *site) noexcept nogil   # what a trace is to call it

cdef struct Engine:
    Memory memory
    int nr_cpus
    int current                # the CPU that runs; -1: the explorer itself
    bint booting
    bint in_final
    bint draining              # the execution is over; fibers run to their end, and operations are done natively
    bint logging
    bint races                 # plain accesses are checked
    bint no_reduction          # every CPU at every node (to compare with)
    bint load_buffering        # explore without promises, then with them
    bint promising             # the second time
    bint promised              # in this execution,
    bint outstanding           # and not yet fulfilled
    int nr_seen[MAX_CPUS]
    Seen seen[MAX_CPUS][MAX_PROMISES]
    int deaths
    int max_deaths
    int max_steps
    int max_spins
    int max_preemptions        # -1: any number
    int timeouts               # 1: a sleeper's time may run out only when nobody else can go on; 0: never
    uint64_t may_die           # CPUs, a bit each
    Cpu cpus[MAX_CPUS]
    body_fn bodies[MAX_CPUS]
    body_fn handlers[MAX_CPUS]
    Fibers fibers
    void *arg
    final_fn final
    char *stacks               # NR_FRAMES of each CPU, and one for the end condition
    void *main_sp
    void *final_sp
    void *left_sp              # where a stack that is not gone on with leaves its place
    int nr_regions
    Region regions[MAX_REGIONS]
    # the execution
    int depth
    int woken                  # CPUs that the last wake-up woke, a bit each
    int last_mb                # newest full barrier
    int last_section           # newest event of an RCU section that begins (a list through the events), -1
    int last_grace             # newest grace period that has begun, -1
    int ending
    const char *why
    const char *late_why
    int culprit                # the CPU that failed; -1: none
    uint64_t fault_at          # address of an access that was no step; 0: none
    Event events[MAX_EVENTS]
    # the tree
    int nr_nodes               # on the path
    int fresh_from             # events before it are those of the last execution, done again
    int floor                  # nodes below it are given
    int cut                    # depth at which the tree is split; 0: not
    bint seeded                # what sleeps at node `floor` is given:
    uint64_t seed[MAX_CPUS]
    bint checked               # a replay: each choice must be possible;
    bint impossible            # one was not
    bint strayed               # the same path led to another operation than before: at `depth`
    bint halted                # by a body or by the fibers: there is an error to raise
    Node nodes[MAX_EVENTS + 1]
    # the log
    int nr_log
    LogRecord *log
    int max_log
    int nr_mutations
    Mutation mutations[MAX_MUTATIONS]
    int mutated_by             # kind of the mutation that has just acted
    uint64_t mutant_hits
    # which sites are executed, and with what
    bint noting
    int nr_sites
    Site sites[MAX_SITES]
    # what to call memory in a trace
    int nr_names
    Name names[MAX_NAMES]
    const char *cpu_names[MAX_CPUS]
    # counts
    uint64_t executions
    uint64_t complete
    uint64_t redundant         # ended in a sleep set
    uint64_t spinning
    uint64_t steps
    uint64_t nr_races
    int bounds                 # Bound bits that were hit
    # distinct graphs
    bint graphs
    uint64_t nr_graphs
    uint64_t graph_slots
    uint64_t *graph_set
    int32_t graph_number[MAX_EVENTS]   # an event's place among those of its CPU that are in the graph
