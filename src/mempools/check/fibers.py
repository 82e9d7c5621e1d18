"""Bodies in Python: each simulated CPU is a greenlet, and a step's switch is greenlet.switch, in the middle of the core.

An execution begins with a new scenario object (places.py finds its memory), so that nothing of one is left to the next.

Greenlets share the one C stack of their thread, slices of it being put away: none may be thrown away in the middle of C
code. An execution that ends while bodies are suspended therefore *drains* them: the newest values go to where the words
are, operations are done natively, and each is followed by an exception that ends the body (an asynchronous one: the core
between knows nothing of it).
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.fibers is compiled code: run `make build` in a checkout, or install the wheel")

import gc

from cython.cimports.cpython.exc import PyErr_Fetch, PyErr_Restore
from cython.cimports.cpython.ref import PyObject
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.string import strncmp
from cython.cimports.mempools.check.cpus import engine_body_ended
from cython.cimports.mempools.check.engine import engine_ask, engine_run, engine_running
from cython.cimports.mempools.check.explorer import Explorer
from cython.cimports.mempools.check.fibers import PyEval_GetFrame, PyThread_get_thread_ident, PyThreadState_SetAsyncExc
from cython.cimports.mempools.check.ops import OP_AWAIT_END, RELAXED
from cython.cimports.mempools.check.perform import fail
from cython.cimports.mempools.check.places import Places, intruded, probed
from cython.cimports.mempools.check.state import (
    CPU_ASLEEP,
    CPU_DEAD,
    CPU_FINISHED,
    ENDED_COMPLETE,
    ENDED_FAILED,
    Engine,
    Event,
)
from cython.cimports.mempools.check.walk import SEARCH_HALTED, search, start_again
from cython.cimports.mempools.check.word import word_hook

from mempools.check.explorer import OP_KINDS
from mempools.check.telling import line_of, told

_QUOTA = cython.declare(cython.int, 50)  # operations of a body that is drained, until the next has its turn
_ROUNDS = cython.declare(cython.int, 200)
_DETERMINISTIC = ". It may depend on what it reads, and on choose(), and on nothing else"
_now = cython.declare(FiberExplorer, None)
_stranded = cython.declare(list, [])  # greenlets that did not end: never collected


class Ended(BaseException):
    """The execution is over: this body is not gone on with. Let it pass."""


# ---- what the engine calls ----


@cython.cfunc
@cython.with_gil
@cython.exceptval(check=False)
def begin(e: cython.pointer(Engine)) -> cython.int:
    try:
        _now.begin()
    except BaseException as error:
        _now.halt = error
        return -1
    return 0


@cython.cfunc
@cython.with_gil
@cython.exceptval(check=False)
def switch_to(e: cython.pointer(Engine), c: cython.int) -> cython.void:
    # An object may be on its way to its end, with an exception set: not this operation's business.
    kind: cython.pointer(PyObject) = cython.NULL
    value: cython.pointer(PyObject) = cython.NULL
    trace: cython.pointer(PyObject) = cython.NULL
    PyErr_Fetch(cython.address(kind), cython.address(value), cython.address(trace))
    try:
        if c < 0:
            _now.main.switch()
        else:
            _now.workers[2 * c + e.cpus[c].frame].switch()
    except BaseException as error:
        _now.halt = error
        e.halted = True
        e.ending = ENDED_FAILED
    PyErr_Restore(kind, value, trace)


@cython.cfunc
@cython.with_gil
@cython.exceptval(check=False)
def finish(e: cython.pointer(Engine)) -> cython.void:
    try:
        _now.finish()
    except BaseException as error:
        if _now.halt is None:
            _now.halt = error
    e.current = -1
    if _now.halt is not None:
        e.halted = True


@cython.cfunc
@cython.with_gil
@cython.exceptval(check=False)
def late(e: cython.pointer(Engine)) -> cython.void:
    """A body that is drained does an operation: it is to end."""
    _now.nr_late += 1
    if _now.nr_late % _QUOTA == 0:
        switch_to(e, -1)  # perhaps it waits for another
    PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), cython.cast(cython.pointer(PyObject), Ended))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def aside(e: cython.pointer(Engine), site: cython.p_const_char, addr: cython.p_void) -> cython.void:
    if e.current < 0:
        probed(addr)
    elif is_word(site):
        fail(
            e,
            e.current,
            b"a word that the scenario object did not have when the execution began: make it in the constructor, and keep "
            b"it in an attribute",
        )


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def is_word(site: cython.p_const_char) -> cython.bint:
    """Is this an operation that a body itself asks for? The others have sites that say more."""
    return (
        strncmp(site, b"word.", 5) == 0
        or strncmp(site, b"lock.", 5) == 0
        or (site[0] != 0 and site[1] == ord(":") and strncmp(site + 2, b"atomic.", 7) == 0)
    )


@cython.cfunc
@cython.with_gil
@cython.exceptval(check=False)
def name_site(site: cython.p_const_char) -> cython.p_const_char:
    """The line of Python that asks for the operation, in a trace."""
    if not is_word(site):
        return site
    found: cython.pointer(PyObject) = PyEval_GetFrame()
    if found == cython.NULL:
        return site
    try:
        name: bytes = as_bytes(line_of(cython.cast(object, found)))
        kept: bytes = _now.sites.setdefault(name, name)
        return kept
    except Exception:  # no room for another call: the body is too deep
        return site


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def no_body(arg: cython.p_void) -> cython.void:
    """Stands in the engine for a handler, which a fiber runs."""


@cython.cfunc
def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace").replace(b"\0", b"?")


# ---- an exploration ----


@cython.final
@cython.cclass
class Worker:
    """What a greenlet runs: the body of its slot in one execution after the other. Making a greenlet anew would cost more
    than an execution."""

    def __call__(self) -> None:
        while self.owner is not None and not self.owner.quits:
            self.owner.run_body(self.slot)
            self.owner.main.switch()


@cython.final
@cython.cclass
class FiberExplorer(Explorer):
    """An exploration of bodies in Python: `bodies` and `handlers` (None: none) are called with what `factory` has made.
    `greenlet` is the module."""

    def __cinit__(
        self,
        scene: str,
        factory: object,
        names: object,
        bodies: object,
        handlers: object,
        greenlet: object,
        *,
        at_end: object = None,
        dies: object = (),
        deaths: object = 1,
        races: object = True,
        mutations: object = (),
        **options: object,
    ):
        e: cython.pointer(Engine)
        c: cython.int
        self._make(scene, len(names), **options)
        e = self.engine
        self.factory = factory
        self.greenlet = greenlet
        self.at_end = at_end
        self.bodies = []
        self.kept = [as_bytes(name) for name in names]
        for c in range(e.nr_cpus):
            self.bodies += [bodies[c], handlers[c]]
            if handlers[c] is not None:
                e.handlers[c] = no_body
            kept: bytes = self.kept[c]
            e.cpu_names[c] = kept
            if c in dies:
                e.may_die |= cython.cast(uint64_t, 1) << c
        self.places = Places.__new__(Places)
        self.places.engine = e
        self.sites = {}
        e.max_deaths = deaths
        e.races = races
        e.noting = False  # sites are named in replays alone
        e.fibers.begin = begin
        e.fibers.switch_to = switch_to
        e.fibers.finish = finish
        e.fibers.late = late
        e.fibers.aside = aside
        e.fibers.name_site = name_site
        self.mutate(mutations)

    # ---- entering

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def enter(self) -> cython.int:
        global _now
        slot: cython.int
        workers: list = []
        for slot in range(2 * self.engine.nr_cpus):
            worker: Worker = Worker.__new__(Worker)
            worker.owner = self
            worker.slot = slot
            workers.append(self.greenlet.greenlet(worker))
        Explorer.enter(self)
        _now = self
        self.hook = word_hook()
        self.halt = None
        self.quits = False
        self.main = self.greenlet.getcurrent()
        self.workers = workers
        for slot in range(2 * self.engine.nr_cpus):
            self.busy[slot] = False
        self.collects = gc.isenabled()
        gc.disable()  # when an object ends, its operations are steps: only the bodies may say when
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def leave(self) -> cython.int:
        global _now
        Explorer.leave(self)
        self.quits = True
        for worker in self.workers:
            if worker is not None and worker:  # it has begun, and waits for its next body
                worker.switch()
        self.workers = []
        self.main = None
        _now = None
        self.places.forget()
        if self.collects:
            gc.enable()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def search(self, nr: uint64_t) -> cython.int:
        # With the GIL: bodies run on this thread's stack.
        if not self.repeated and self.repeat():
            return SEARCH_HALTED
        return search(self.engine, nr)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def repeat(self) -> cython.int:
        """The first execution twice: the search itself repeats paths, but none to its end. Not 0: they differ."""
        e: cython.pointer(Engine) = self.engine
        depth: cython.int
        ending: cython.int
        self.repeated = True
        engine_run(e)
        depth = e.depth
        ending = e.ending
        if not e.halted and not e.memory.wants_width and ending != ENDED_FAILED:
            e.nr_nodes = depth
            e.fresh_from = depth
            engine_run(e)
            if not e.halted and not e.strayed and (e.depth != depth or e.ending != ending):
                self.halt = RuntimeError(
                    "a body is not deterministic: the first execution, done again, "
                    + (f"has {e.depth} steps, not {depth}" if e.depth != depth else "ends in another way")
                    + _DETERMINISTIC
                )
                return 1
        return 1 if e.halted or e.strayed else start_again(e)

    # ---- an execution

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def begin(self) -> cython.int:
        self.error = None
        self.state = self.factory()
        self.places.find(self.state)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def run_body(self, slot: cython.int) -> cython.int:
        """The body or handler of a slot, from its start to its end; on its greenlet."""
        e: cython.pointer(Engine) = self.engine
        self.busy[slot] = True
        try:
            self.bodies[slot](self.state)
        except Ended:
            pass
        except Exception as error:
            if not e.draining:
                self.error = error
                self.why = as_bytes(told(error))
                if e.outstanding:
                    e.late_why = self.why  # if the promise is kept: else this is no execution
                else:
                    fail(e, slot >> 1, self.why)
        except BaseException as error:
            self.halt = error
            e.halted = True
            if not e.draining:
                fail(e, -1, b"halted")
        self.busy[slot] = False
        if e.draining:
            PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), cython.NULL)
        else:
            engine_body_ended(e, slot >> 1, slot & 1)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def finish(self) -> cython.int:
        """The end condition; then the bodies that are suspended, in turns, and the scenario object are brought to an end."""
        e: cython.pointer(Engine) = self.engine
        turn: cython.int
        slot: cython.int
        left: cython.bint = True
        self.places.write_back()
        if e.ending == ENDED_COMPLETE and self.at_end is not None:
            try:
                self.at_end(self.state)
            except Exception as error:
                self.error = error
                self.why = as_bytes(told(error))
                fail(e, -1, self.why)
            except BaseException as error:
                self.halt = error
        for turn in range(_ROUNDS):
            if not left:
                break
            left = False
            for slot in range(2 * e.nr_cpus):
                if self.busy[slot]:
                    left = True
                    e.current = slot >> 1
                    self.workers[slot].switch()
                    PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), cython.NULL)
        e.current = -1
        self.let_go()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def let_go(self) -> cython.int:
        e: cython.pointer(Engine) = self.engine
        slot: cython.int
        names: list = []
        for slot in range(2 * e.nr_cpus):
            if self.busy[slot]:
                names.append(self.cpu_names[slot >> 1])
                _stranded.append(self.workers[slot])
                self.workers[slot] = None
        self.state = None
        e.nr_regions = 0  # its memory is no longer ours
        if not names and self.error is None and self.halt is None and self.places.outlived():
            raise RuntimeError(
                "an arena outlives the execution that it was made for: make it in the constructor, and keep neither it "
                "nor a pool nor a block of it anywhere but in the scenario object and in the bodies"
            )
        if names:
            raise RuntimeError(
                f"{' and '.join(names)} did not end when an execution was given up: a body must let {Ended.__name__} pass, "
                "and not repeat for ever what no other body will change"
            )
        if word_hook() != self.hook:
            raise RuntimeError("a body has set another hook of the machine layer (mempools.check.steps): it must not")
        if intruded():
            raise RuntimeError(
                "another thread used the scenario's memory while it was explored: it must not, for it is not explored"
            )
        return 0

    # ---- telling

    def name_of(self, address: object) -> object:
        return self.places.name_of(address)

    @cython.cfunc
    def asked(self, depth: cython.int) -> str:
        """What was asked for at a step of the execution before."""
        event: cython.pointer(Event) = cython.address(self.engine.events[depth])
        return self.request(event.asked & 31, (event.asked >> 16) - 1, event.asked_a)

    @cython.cfunc
    def request(self, kind: cython.int, loc: cython.int, a: uint64_t) -> str:
        text: str = OP_KINDS[kind]
        if loc >= 0:
            text += f" {self.name_of(self.engine.memory.locs[loc].addr)}"
        return text + (f", {a}" if kind in (1, 2, 3) else "")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def raise_halted(self) -> cython.int:
        e: cython.pointer(Engine) = self.engine
        c: cython.int = e.nodes[e.depth].cpu
        if self.halt is not None:
            halt = self.halt
            self.halt = None
            raise halt
        if e.cpus[c].state == CPU_FINISHED or e.cpus[c].state == CPU_DEAD or e.cpus[c].state == CPU_ASLEEP:
            now: str = "nothing: it has ended"
        else:
            now = self.request(e.cpus[c].op.kind, e.cpus[c].loc, e.cpus[c].op.a)
        before: str = self.asked(e.depth) if e.depth < e.fresh_from else "something else"
        raise RuntimeError(
            f"a body is not deterministic: on the same path, step {e.depth + 1}, by {self.cpu_names[c]}, was {before} before "
            f"and is {now}{_DETERMINISTIC}"
        )


# ---- for bodies ----


def await_end(name: str, /) -> bool:
    """Waits until the CPU has ended: true if its process died, false if its body has returned. Whoever waits for a dead
    process sees what it wrote, as its kernel lock's next owner does. At the end of an execution it just says which."""
    if _now is None or not (engine_running() or _now.engine.draining):
        raise RuntimeError("only a body that is being checked can wait for another")
    names = _now.cpu_names
    if name not in names:
        raise ValueError(f"there is no CPU {name!r} among {', '.join(names)}")
    c: cython.int = names.index(name)
    if not engine_running():
        return _now.engine.cpus[c].state == CPU_DEAD
    if c == _now.engine.current:
        raise ValueError(f"{name} would wait for its own end")
    return engine_ask(OP_AWAIT_END, RELAXED, cython.NULL, c, 0, b"word.await_end") != 0
