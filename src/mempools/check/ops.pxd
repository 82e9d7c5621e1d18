# What a simulated CPU asks of the checker's memory, one operation at a time.
from libc.stdint cimport uint64_t

cdef enum:
    MAX_CPUS = 8
    NR_REGS = 32               # dependency registers of a CPU: a litmus test's; compiled code uses register 0 alone

cdef enum OpKind:
    OP_READ = 0
    OP_WRITE
    OP_RMW                     # fn says which
    OP_CMPXCHG                 # a = expected, b = new; one that fails is a plain relaxed read
    OP_LOCK                    # spin lock: waits for an unlocked word, acquire
    OP_TRYLOCK                 # returns 1 if it took the lock
    OP_UNLOCK                  # release
    OP_MB
    OP_RMB
    OP_WMB
    OP_RELAX                   # cpu_relax: the end of one turn of a spin loop
    OP_FUTEX_WAIT              # a = expected, b = time-out (0: none); returns 0, -EAGAIN, -ETIMEDOUT
    OP_FUTEX_WAKE              # a = how many; returns how many woke
    OP_RCU_LOCK
    OP_RCU_UNLOCK
    OP_SYNCHRONIZE_RCU
    OP_AWAIT_END               # addr = a CPU's number: waits until it has died (returns 1) or finished (0), as
                               # whoever finds a kernel lock of the dead process free
    OP_START                   # a CPU's first step; not asked for by bodies
    OP_CHOOSE                  # returns one of 0 .. a - 1: each is tried
    OP_GRACE_END               # what OP_SYNCHRONIZE_RCU becomes when it has begun; not asked for by bodies
    NR_OP_KINDS

cdef enum Order:
    RELAXED = 0
    ACQUIRE
    RELEASE
    FULL
    PLAIN                      # not atomic: two of them that may meet are a data race

cdef enum RmwFn:
    FN_XCHG = 0
    FN_ADD
    FN_OR
    FN_AND
    FN_XOR

cdef struct Op:
    int kind
    int order
    int asked                  # the order before a mutation
    int fn
    int size                   # bytes: 4 or 8
    bint mutated               # a mutation has weakened it
    bint silent                # an RMW whose result is unused (atomic_inc): smp_rmb does not order its read
    bint computed              # an RMW whose value is made of what it read: who reads it depends on that too
    uint64_t addr              # the key of the location; equal for all CPUs
    uint64_t a
    uint64_t b
    const char *site
    uint64_t addr_deps         # dependency registers, a bit each, that the address came from,
    uint64_t data_deps         # the value,
    uint64_t ctrl_deps         # and the branches on the way
    int dst                    # dependency register that the value read goes to; -1: none

cdef enum HookOp:              # what the machine layer tells its hook (enum mp_op), as far as it matters here
    HOOK_XCHG = 8
    HOOK_MB = 24
    HOOK_COPY = 31
    HOOK_WINDOW = 33
