# A litmus test's program as its simulated CPUs run it, and what its executions have ended with.
from libc.stdint cimport int64_t, uint64_t
from mempools.check.ops cimport MAX_CPUS
from mempools.check.state cimport Engine

cdef enum Step:
    STEP_ALU = 0
    STEP_JUMP
    STEP_JUMP_ZERO
    STEP_DEP
    STEP_NOP
    STEP_MEMORY                # asks memory for `kind`
    STEP_MB_AFTER_RMW          # a full barrier, if the process has done a read-modify-write
    STEP_MB_AFTER_LOCK         # ... has taken a lock

cdef enum Fn:
    ALU_COPY = 0
    ALU_ADD
    ALU_SUB
    ALU_MUL
    ALU_DIV
    ALU_MOD
    ALU_AND
    ALU_OR
    ALU_XOR
    ALU_SHL
    ALU_SHR
    ALU_EQ
    ALU_NE
    ALU_LT
    ALU_GT
    ALU_LE
    ALU_GE

cdef enum Fault:
    FAULT_NONE = 0
    FAULT_ADDRESS              # a dereference of a value that is no address
    FAULT_DIVISION
    FAULT_RCU                  # read-side sections that do not match

cdef struct Instr:             # see litmuscode.Instr
    int step
    int kind                   # OpKind
    int fn                     # Fn, or RmwFn
    int order
    bint silent
    int dst
    int a
    int b
    int c
    int dep
    int target
    uint64_t addr_deps
    uint64_t data_deps
    uint64_t ctrl_deps

cdef struct Thread:
    # constant
    Instr *code
    int nr_code
    int64_t *image             # what the slots begin with
    int nr_slots
    # of the execution that runs, or has ended
    int64_t *slots
    bint did_rmw
    bint did_lock
    int sections               # RCU read-side sections it is in
    int fault

cdef struct Column:            # of a final state
    int thread                 # -1: memory
    int slot
    uint64_t addr

cdef struct Program:
    Engine *engine
    int nr_threads
    Thread threads[MAX_CPUS]
    uint64_t base              # of the first variable; the others follow each `step` further
    uint64_t step
    int nr_variables
    int *lengths               # elements of each
    int nr_columns
    Column *columns
    # the distinct final states
    int64_t *states            # nr_columns each
    long nr_states
    long max_states
    long *slots                # a hash table of states, by number + 1
    long nr_slots
    bint no_memory
    int fault                  # of an execution that has ended

cdef void body(void *arg) noexcept nogil               # a simulated CPU's, of the Program
cdef const char *final(void *arg) noexcept nogil       # keeps what an execution has ended with
cdef bint note_faults(Program *p) noexcept nogil       # has a process of the execution gone wrong?
