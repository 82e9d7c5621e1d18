from mempools.check.ops cimport Op
from mempools.check.state cimport Cpu, Engine

cdef enum Mutant:              # what is done to the operations of one site; 0: nothing
    MUTANT_RELAX = 1           # acquire, release or full order becomes none
    MUTANT_ACQUIRE             # a full barrier only acquires
    MUTANT_RELEASE             # a full barrier only releases
    MUTANT_REMOVE              # a fence is left out
    MUTANT_SPLIT               # a read-modify-write is a read and a write
    MUTANT_ELIDE               # a lock or unlock is left out: the swap is said to have worked
    MUTANT_SWAP                # a store comes after the CPU's next store
    MUTANT_TEAR                # a store is plain: the compiler may do it in pieces, or a bit of it later
    MUTANT_STRENGTHEN          # fully ordered: to see whether that would help
    NR_MUTANTS

cdef void note_site(Engine *e, Op *op) noexcept nogil
cdef bint mutated_op(Engine *e, int c) noexcept nogil
cdef void release_held(Cpu *cpu) noexcept nogil
