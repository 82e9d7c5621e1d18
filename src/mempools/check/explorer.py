"""An exploration as Python sees it: a scenario, its bounds, perhaps a mutation; run a number of executions at a time."""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.explorer is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.stdlib import malloc
from cython.cimports.libc.string import memset
from cython.cimports.mempools.check.engine import engine_enter, engine_leave, engine_run
from cython.cimports.mempools.check.explore import next_path
from cython.cimports.mempools.check.making import engine_free, engine_make
from cython.cimports.mempools.check.ops import MAX_CPUS
from cython.cimports.mempools.check.regions import engine_region, initial_value
from cython.cimports.mempools.check.scenes import Scene, find_scene
from cython.cimports.mempools.check.state import (
    BOUND_EXECUTIONS,
    BOUND_MESSAGES,
    BOUND_PREEMPTIONS,
    BOUND_SECONDS,
    BOUND_SPINS,
    BOUND_STEPS,
    CHOICE_PROMISE,
    CPU_ASLEEP,
    CPU_DEAD,
    CPU_FINISHED,
    ENDED_CUT,
    ENDED_DEADLOCK,
    ENDED_FAILED,
    MAX_EVENTS,
    MAX_MUTATIONS,
    MAX_PROMISES,
    Cpu,
    Engine,
    LogRecord,
    Node,
)
from cython.cimports.mempools.check.views import memory_find
from cython.cimports.mempools.check.walk import (
    SEARCH_DONE,
    SEARCH_FAILED,
    SEARCH_HALTED,
    SEARCH_MORE,
    search,
    start_again,
)
from cython.cimports.posix.mman import MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap

from mempools.check.mutate import MUTANTS

# What replay gives for each step: CPU, event (-1: a local step), frame, choice, operation, order, size, address, a, b, site,
# value read, value written, event read from, newest event, inserted?, mutated?, failed?, event after it, CPUs woken, function,
# order that was asked for.
Record = tuple
ENDINGS = ("complete", "asleep", "spinning", "deadlock", "failed", "bound", "broken", "cut")
BOUNDS = {
    "steps": BOUND_STEPS,
    "messages": BOUND_MESSAGES,
    "spins": BOUND_SPINS,
    "preemptions": BOUND_PREEMPTIONS,
    "executions": BOUND_EXECUTIONS,
    "seconds": BOUND_SECONDS,
}
OP_KINDS = (
    "read write rmw cmpxchg lock trylock unlock mb rmb wmb relax futex_wait futex_wake rcu_lock rcu_unlock "
    "synchronize_rcu await_end start choose synchronize_rcu"
).split()
ORDERS = ("relaxed", "acquire", "release", "full", "plain")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PROMISES = _DIGITS[CHOICE_PROMISE : CHOICE_PROMISE + MAX_PROMISES]
_MAX_LOG = cython.declare(cython.int, 20000)


@cython.cclass
class Explorer:
    """An exploration of one scenario, by its name. Not thread-safe: the machine layer's hook belongs to the thread that
    runs it, and no other thread may be inside the core meanwhile."""

    def __cinit__(self, scene: str, *args: object, **options: object):
        if type(self) is Explorer:  # else the heir makes its own engine
            self._cast(scene, *args, **options)

    def _cast(
        self,
        scene: str,
        *,
        races: object = True,
        deaths: object = None,
        mutations: object = (),
        **options: object,
    ) -> None:
        """The engine of a compiled scenario."""
        found: cython.pointer(Scene) = find_scene(scene)
        status: cython.int
        self._make(scene, found.nr_cpus, **options)
        if found.nbytes:
            self.nbytes = found.nbytes
            self.memory = cython.cast(
                cython.p_char,
                mmap(cython.NULL, self.nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            )
            if self.memory == cython.cast(cython.p_char, MAP_FAILED):
                self.memory = cython.NULL
                raise MemoryError
        status = found.setup(self.engine, self.memory, self.nbytes)
        if status:
            raise RuntimeError(f"scenario {scene!r} cannot be set up: status {status}")
        self.engine.races = self.engine.races and races  # a scenario may say that its plain accesses race by design
        if deaths is not None:
            self.engine.max_deaths = deaths
        if self.nbytes and engine_region(self.engine, self.memory, self.nbytes, True) < 0:
            raise MemoryError
        self.mutate(mutations)

    def _make(
        self,
        scene: str,
        nr_cpus: object,
        *,
        steps: object = 2000,
        spins: object = 3,
        preemptions: object = None,
        reduction: object = True,
        graphs: object = True,
        timeouts: object = True,
        width: object = 16,
        load_buffering: object = False,
        broken: object = 0,
    ) -> None:
        """The engine, with its bounds and without bodies."""
        e: cython.pointer(Engine)
        if self.engine != cython.NULL:
            raise TypeError("an explorer is made once")
        if not 0 < steps < MAX_EVENTS:
            raise ValueError(f"steps must lie between 1 and {MAX_EVENTS - 1}, not {steps}")
        if width not in (16, 32, 64, 128, 256):
            raise ValueError(f"width must be 16, 32, 64, 128 or 256, not {width}")
        self.scene = scene
        self.engine = e = engine_make(nr_cpus, width, 1)
        if e == cython.NULL:
            raise MemoryError
        e.max_steps = steps
        e.max_spins = spins
        e.max_preemptions = -1 if preemptions is None else preemptions
        e.no_reduction = not reduction
        e.timeouts = timeouts
        e.graphs = graphs
        e.memory.preserved = not load_buffering
        e.load_buffering = load_buffering
        e.noting = True
        e.memory.broken = broken

    def mutate(self, mutations: object) -> None:
        """Weakens the operations of the given sites, pairs of site and mutation, from the next execution on."""
        e: cython.pointer(Engine) = self.engine
        if len(mutations) > MAX_MUTATIONS:
            raise ValueError(f"at most {MAX_MUTATIONS} mutations at a time")
        names: list = []
        for site, mutant in mutations:
            if mutant not in MUTANTS[1:]:
                raise ValueError(f"{mutant!r} is no mutation: take one of {', '.join(MUTANTS[1:])}")
            names.append(site.encode())
        self.mutated = names  # keeps what the engine points to
        e.nr_mutations = 0
        for i, (_, mutant) in enumerate(mutations):
            name: bytes = names[i]
            e.mutations[e.nr_mutations].site = name
            e.mutations[e.nr_mutations].kind = MUTANTS.index(mutant)
            e.nr_mutations += 1

    def __dealloc__(self):
        engine_free(self.engine)
        if self.memory != cython.NULL:
            munmap(self.memory, self.nbytes)

    def run(self, executions: object) -> object:
        """At most so many more executions: "done" (all explored), "more", or "failed" (`path` is its replay string)."""
        nr: uint64_t = executions
        result: cython.int
        self.enter()
        try:
            result = self.search(nr)
        finally:
            self.leave()
        if result == SEARCH_DONE:
            return "done"
        if result == SEARCH_MORE:
            return "more"
        if result == SEARCH_FAILED:
            return "failed"
        if result == SEARCH_HALTED:
            self.raise_halted()
        raise MemoryError

    def skip(self) -> object:
        """After a failure: goes on behind it. False: nothing is left."""
        return bool(next_path(self.engine))

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def search(self, nr: uint64_t) -> cython.int:
        result: cython.int
        with cython.nogil:
            result = search(self.engine, nr)
        return result

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def enter(self) -> cython.int:
        status: cython.int = engine_enter(self.engine)
        if status == -2:
            raise RuntimeError("another exploration is under way in this process")
        if status < 0:
            raise OSError("the exploration cannot protect its memory")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def leave(self) -> cython.int:
        engine_leave(self.engine)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def raise_halted(self) -> cython.int:
        """For who drives bodies that may halt the exploration."""
        raise RuntimeError("the exploration was halted")

    @property
    def counts(self) -> object:
        e: cython.pointer(Engine) = self.engine
        return {
            "executions": e.executions,
            "complete": e.complete,
            "redundant": e.redundant,
            "spinning": e.spinning,
            "graphs": e.nr_graphs,
            "steps": e.steps,
            "races": e.nr_races,
            "mutant_hits": e.mutant_hits,
        }

    @property
    def progress(self) -> object:
        """About how much of the tree has been explored, 0 to 1: by the branches of the path, each taken for as heavy as its
        sisters."""
        e: cython.pointer(Engine) = self.engine
        share: cython.double = 1.0
        done: cython.double = 0.0
        i: cython.int
        nr: cython.int
        node: cython.pointer(Node)
        for i in range(e.floor, e.nr_nodes):
            node = cython.address(e.nodes[i])
            nr = (
                node.tried
                + 1
                + bin(node.remaining).count("1")
                + bin(node.backtrack & ~(node.done | 1 << node.cpu)).count("1")
            )
            share /= nr
            done += share * node.tried
        return done

    @property
    def path(self) -> object:
        """The replay string of the execution that ran last: CPU and choice of each step."""
        i: cython.int
        return "".join(
            f"{self.engine.events[i].cpu}{_DIGITS[self.engine.events[i].choice]}" for i in range(self.engine.depth)
        )

    @property
    def sites(self) -> object:
        """The sites that were executed: name, operation, order."""
        i: cython.int
        e: cython.pointer(Engine) = self.engine
        return sorted(
            {
                (e.sites[i].name.decode(), OP_KINDS[e.sites[i].kind], ORDERS[e.sites[i].order])
                for i in range(e.nr_sites)
                if e.sites[i].name != cython.NULL
            }
        )

    @property
    def cpu_names(self) -> object:
        c: cython.int
        e: cython.pointer(Engine) = self.engine
        return tuple(
            [f"CPU {c}" if e.cpu_names[c] == cython.NULL else e.cpu_names[c].decode() for c in range(e.nr_cpus)]
        )

    def name_of(self, address: object) -> object:
        """What a trace calls a word."""
        i: cython.int
        at: uint64_t = address
        e: cython.pointer(Engine) = self.engine
        for i in range(e.nr_names):
            if e.names[i].lo <= at < e.names[i].hi:
                if e.names[i].hi - e.names[i].lo <= 8:
                    return e.names[i].text.decode()
                return f"{e.names[i].text.decode()}+{at - e.names[i].lo:#x}"
        if self.nbytes and 0 <= at - cython.cast(uint64_t, self.memory) < self.nbytes:
            return f"arena+{at - cython.cast(uint64_t, self.memory):#x}"
        return f"local+{at & 0xFFFF:#x}"

    def initial(self, address: object, size: object) -> object:
        """What a word held before the execution. (Its memory may be gone.)"""
        e: cython.pointer(Engine) = self.engine
        loc: cython.int = memory_find(cython.address(e.memory), address)
        return initial_value(e, address, size) if loc < 0 else e.memory.locs[loc].initial

    @property
    def ending(self) -> object:
        return ENDINGS[self.engine.ending]

    @property
    def culprit(self) -> object:
        """The CPU that found the violation; -1: none did, but the end condition, or it is a deadlock."""
        return self.engine.culprit if self.engine.ending == ENDED_FAILED else -1

    @property
    def why(self) -> object:
        """The property that the execution that ran last violates."""
        if self.engine.ending == ENDED_DEADLOCK:
            return "nobody can go on"
        if self.engine.why == cython.NULL:
            return ""
        why: str = self.engine.why.decode()
        if self.engine.fault_at:
            why += f" (offset {self.engine.fault_at - cython.cast(uint64_t, self.memory):#x})"
        return why

    @property
    def bounds(self) -> object:
        """Names of the bounds that were hit: something behind them was not explored."""
        return [name for name, bit in BOUNDS.items() if self.engine.bounds & bit]

    @property
    def blocked(self) -> object:
        """The CPUs that could not go on at the end: number, operation, site, and the address it waits for."""
        c: cython.int
        cpu: cython.pointer(Cpu)
        found: list = []
        if self.engine.ending != ENDED_DEADLOCK:
            return found
        for c in range(self.engine.nr_cpus):
            cpu = cython.address(self.engine.cpus[c])
            if cpu.state != CPU_FINISHED and cpu.state != CPU_DEAD:
                kind: str = "asleep" if cpu.state == CPU_ASLEEP else OP_KINDS[cpu.op.kind]
                found.append((c, kind, "" if cpu.op.site == cython.NULL else cpu.op.site.decode(), cpu.op.addr))
        return found

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def follow(self, path: str, fixed: cython.bint) -> cython.int:
        """Makes the nodes those of a replay string."""
        e: cython.pointer(Engine) = self.engine
        i: cython.int
        if len(path) % 2 or len(path) // 2 >= e.max_steps:
            raise ValueError("this is no replay string: it has two characters for each step")
        for i in range(len(path) // 2):
            cpu: cython.int = _DIGITS.find(path[2 * i])
            choice: cython.int = _DIGITS.find(path[2 * i + 1])
            if cpu < 0 or cpu >= e.nr_cpus or choice < 0:
                raise ValueError(f"{path[2 * i : 2 * i + 2]!r} is no step of a replay string of {e.nr_cpus} CPUs")
            memset(cython.address(e.nodes[i]), 0, cython.sizeof(Node))
            e.nodes[i].cpu = cpu
            e.nodes[i].choice = choice
            e.nodes[i].fixed = fixed
        e.nr_nodes = len(path) // 2
        e.fresh_from = 0
        e.floor = e.nr_nodes
        return 0

    def replay(self, path: str) -> object:
        """Runs the execution of a replay string again: a tuple for each step, local ones included. What a string that
        does not belong to this scenario asks for may be impossible: ValueError."""
        e: cython.pointer(Engine) = self.engine
        i: cython.int
        line: cython.pointer(LogRecord)
        found: list = []
        if e.log == cython.NULL:
            e.log = cython.cast(cython.pointer(LogRecord), malloc(_MAX_LOG * cython.sizeof(LogRecord)))
            if e.log == cython.NULL:
                raise MemoryError
            e.max_log = _MAX_LOG
        if e.load_buffering and not e.promising and any(choice in _PROMISES for choice in path[1::2]):
            self.find_promises()
        self.enter()
        e.logging = True
        e.checked = True
        try:
            while True:
                self.follow(path, True)
                engine_run(e)
                if not e.memory.wants_width:
                    break
                if start_again(e) < 0:
                    raise MemoryError
        finally:
            self.leave()
            e.logging = False
            e.checked = False
        if e.halted or e.strayed:
            self.raise_halted()
        if e.impossible:
            raise ValueError(
                f"step {e.depth} of the replay string cannot be done here: it is of another scenario or version"
            )
        for i in range(e.nr_log):
            line = cython.address(e.log[i])
            found.append(
                (
                    line.cpu,
                    line.event,
                    line.frame,
                    line.choice,
                    OP_KINDS[line.op.kind],
                    ORDERS[line.op.order],
                    line.op.size,
                    line.op.addr,
                    line.op.a,
                    line.op.b,
                    "" if line.op.site == cython.NULL else line.op.site.decode(),
                    line.value,
                    line.written,
                    line.read_event,
                    line.newest_event,
                    bool(line.inserted),
                    bool(line.op.mutated),
                    bool(line.failed),
                    line.before_event,
                    line.woken,
                    line.op.fn,
                    ORDERS[line.op.asked],
                )
            )
        return found

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def find_promises(self) -> cython.int:
        """Explores without promises, as the search does first: what may be promised is what is stored there."""
        e: cython.pointer(Engine) = self.engine
        status: cython.int = SEARCH_MORE
        while status == SEARCH_MORE and not e.promising:
            self.enter()
            try:
                status = search(e, 1)
            finally:
                engine_leave(e)
        return 0

    @property
    def load_buffering(self) -> object:
        """May a store run ahead of the reads before it?"""
        return bool(self.engine.load_buffering)

    def split(self, depth: object) -> object:
        """Parts of the tree to give to other explorers: the replay string of each path of `depth` steps, and what sleeps
        behind it. Shorter executions are run here, and counted. Before the first run; "failed" ends it early."""
        e: cython.pointer(Engine) = self.engine
        parts: list = []
        c: cython.int
        status: cython.int = SEARCH_MORE
        e.cut = depth
        try:
            while status == SEARCH_MORE:
                self.enter()
                try:
                    status = search(e, 1)
                finally:
                    self.leave()
                if e.ending == ENDED_CUT:
                    parts.append((self.path, tuple([e.nodes[e.depth].sleep[c] for c in range(MAX_CPUS)])))
                    e.executions -= 1
        finally:
            e.cut = 0
        return parts

    def begin_at(self, path: str, sleep: object) -> None:
        """Explores one part that split returned, from now on."""
        c: cython.int
        if start_again(self.engine) < 0:
            raise MemoryError
        self.follow(path, True)
        for c in range(MAX_CPUS):
            self.engine.seed[c] = sleep[c]
        self.engine.seeded = True
