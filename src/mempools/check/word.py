"""What bodies in Python are written with: words that simulated CPUs share, and the operations of the machine layer on them.

Outside an exploration, in the constructor of a scenario say, an operation is done natively, at once.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.word is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.cpython.number import PyNumber_Index
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.check.engine import engine_ask, engine_running
from cython.cimports.mempools.check.ops import (
    ACQUIRE,
    OP_CHOOSE,
    OP_FUTEX_WAIT,
    OP_FUTEX_WAKE,
    OP_LOCK,
    OP_TRYLOCK,
    OP_UNLOCK,
    RELAXED,
    RELEASE,
)
from cython.cimports.mempools.machine.atomics import perform, step_fn, this_module_step
from cython.cimports.mempools.machine.hooks import register_module

register_module(cython.address(this_module_step))

_MASK = (1 << 64) - 1
_MAX_WAYS = 32


@cython.cfunc
@cython.exceptval(0xDEAD, check=True)
def as_word(value: object) -> uint64_t:
    number: object = PyNumber_Index(value)
    if not 0 <= number <= _MASK:
        raise OverflowError(f"{number} does not fit into a word: give 0 to 2**64 - 1")
    return number


@cython.cfunc
@cython.inline
def ask(op: cython.int, word: cython.p_void, a: uint64_t, b: uint64_t, site: cython.p_const_char) -> uint64_t:
    """One operation of mp_machine.h."""
    hook = this_module_step
    return hook(site, op, 8, word, a, b) if hook != cython.NULL else perform(op, 8, word, a, b)


@cython.cfunc
@cython.exceptval(check=False)
def word_hook() -> step_fn:
    return this_module_step


@cython.cfunc
@cython.exceptval(-1, check=False)
def check_running(what: str) -> cython.int:
    if not engine_running():
        raise RuntimeError(f"only a body that is being checked can {what}")
    return 0


@cython.final
@cython.cclass
class Word:
    """Word(value=0)

    A 64-bit word that the CPUs of a scenario share, with the operations of the kernel's memory model. The order is part of
    an operation's name: `read_once` and `write_once` order nothing, `load_acquire` and `store_release` are one-way
    barriers; `X_relaxed`, `X_acquire`, `X_release` and `X`, which is fully ordered, for read-modify-writes. A cmpxchg
    returns the value from before, and orders nothing where that is not what was expected. Values are 0 to 2**64 - 1.
    """

    def __cinit__(self, value: object = 0, /):
        self.value = as_word(value)

    def __repr__(self) -> str:
        return "<mempools.check.Word>"

    def read_once(self) -> object:
        return ask(MP_READ_ONCE, cython.address(self.value), 0, 0, b"word.read_once")

    def load_acquire(self) -> object:
        return ask(MP_LOAD_ACQUIRE, cython.address(self.value), 0, 0, b"word.load_acquire")

    def write_once(self, value: object, /) -> None:
        ask(MP_WRITE_ONCE, cython.address(self.value), as_word(value), 0, b"word.write_once")

    def store_release(self, value: object, /) -> None:
        ask(MP_STORE_RELEASE, cython.address(self.value), as_word(value), 0, b"word.store_release")

    def plain_read(self) -> object:
        """A read as any expression has it. Two accesses that may meet, one of them plain and one a write, are a data race:
        a failure."""
        value: uint64_t = 0
        ask(
            MP_COPY,
            cython.address(value),
            cython.cast(uint64_t, cython.cast(cython.p_void, cython.address(self.value))),
            8,
            b"word.plain_read",
        )
        return value

    def plain_write(self, value: object, /) -> None:
        """A write as any assignment has it; see plain_read."""
        new: uint64_t = as_word(value)
        ask(
            MP_COPY,
            cython.address(self.value),
            cython.cast(uint64_t, cython.cast(cython.p_void, cython.address(new))),
            8,
            b"word.plain_write",
        )

    def futex_wait(self, value: object, /) -> object:
        """Sleeps until a futex_wake of this word, if the word is `value` now: true. Else false, at once."""
        check_running("wait")
        return (
            engine_ask(OP_FUTEX_WAIT, RELAXED, cython.address(self.value), as_word(value), 0, b"word.futex_wait") == 0
        )

    def futex_wake(self, nr: object = 1, /) -> object:
        """Wakes at most `nr` of those who sleep on this word: how many it woke."""
        check_running("wake")
        return engine_ask(OP_FUTEX_WAKE, RELAXED, cython.address(self.value), as_word(nr), 0, b"word.futex_wake")

    def cmpxchg_relaxed(self, expected: object, new: object, /) -> object:
        return ask(
            MP_CMPXCHG_RELAXED, cython.address(self.value), as_word(expected), as_word(new), b"word.cmpxchg_relaxed"
        )

    def cmpxchg_acquire(self, expected: object, new: object, /) -> object:
        return ask(
            MP_CMPXCHG_ACQUIRE, cython.address(self.value), as_word(expected), as_word(new), b"word.cmpxchg_acquire"
        )

    def cmpxchg_release(self, expected: object, new: object, /) -> object:
        return ask(
            MP_CMPXCHG_RELEASE, cython.address(self.value), as_word(expected), as_word(new), b"word.cmpxchg_release"
        )

    def cmpxchg(self, expected: object, new: object, /) -> object:
        return ask(MP_CMPXCHG, cython.address(self.value), as_word(expected), as_word(new), b"word.cmpxchg")

    def xchg_relaxed(self, value: object, /) -> object:
        return ask(MP_XCHG_RELAXED, cython.address(self.value), as_word(value), 0, b"word.xchg_relaxed")

    def xchg_acquire(self, value: object, /) -> object:
        return ask(MP_XCHG_ACQUIRE, cython.address(self.value), as_word(value), 0, b"word.xchg_acquire")

    def xchg_release(self, value: object, /) -> object:
        return ask(MP_XCHG_RELEASE, cython.address(self.value), as_word(value), 0, b"word.xchg_release")

    def xchg(self, value: object, /) -> object:
        return ask(MP_XCHG, cython.address(self.value), as_word(value), 0, b"word.xchg")

    def fetch_add_relaxed(self, delta: object, /) -> object:
        return ask(
            MP_FETCH_ADD_RELAXED,
            cython.address(self.value),
            PyNumber_Index(delta) & _MASK,
            0,
            b"word.fetch_add_relaxed",
        )

    def fetch_add_acquire(self, delta: object, /) -> object:
        return ask(
            MP_FETCH_ADD_ACQUIRE,
            cython.address(self.value),
            PyNumber_Index(delta) & _MASK,
            0,
            b"word.fetch_add_acquire",
        )

    def fetch_add_release(self, delta: object, /) -> object:
        return ask(
            MP_FETCH_ADD_RELEASE,
            cython.address(self.value),
            PyNumber_Index(delta) & _MASK,
            0,
            b"word.fetch_add_release",
        )

    def fetch_add(self, delta: object, /) -> object:
        return ask(MP_FETCH_ADD, cython.address(self.value), PyNumber_Index(delta) & _MASK, 0, b"word.fetch_add")

    def fetch_or_relaxed(self, mask: object, /) -> object:
        return ask(MP_FETCH_OR_RELAXED, cython.address(self.value), as_word(mask), 0, b"word.fetch_or_relaxed")

    def fetch_or_acquire(self, mask: object, /) -> object:
        return ask(MP_FETCH_OR_ACQUIRE, cython.address(self.value), as_word(mask), 0, b"word.fetch_or_acquire")

    def fetch_or_release(self, mask: object, /) -> object:
        return ask(MP_FETCH_OR_RELEASE, cython.address(self.value), as_word(mask), 0, b"word.fetch_or_release")

    def fetch_or(self, mask: object, /) -> object:
        return ask(MP_FETCH_OR, cython.address(self.value), as_word(mask), 0, b"word.fetch_or")

    def fetch_and_relaxed(self, mask: object, /) -> object:
        return ask(MP_FETCH_AND_RELAXED, cython.address(self.value), as_word(mask), 0, b"word.fetch_and_relaxed")

    def fetch_and_acquire(self, mask: object, /) -> object:
        return ask(MP_FETCH_AND_ACQUIRE, cython.address(self.value), as_word(mask), 0, b"word.fetch_and_acquire")

    def fetch_and_release(self, mask: object, /) -> object:
        return ask(MP_FETCH_AND_RELEASE, cython.address(self.value), as_word(mask), 0, b"word.fetch_and_release")

    def fetch_and(self, mask: object, /) -> object:
        return ask(MP_FETCH_AND, cython.address(self.value), as_word(mask), 0, b"word.fetch_and")


@cython.final
@cython.cclass
class Lock:
    """A spin lock of a scenario, for `with` too: taking it is an acquire, giving it back a release. Who wants it while it is
    taken cannot go on until it is given back; if everybody waits, that is a deadlock. Whoever dies with it keeps it."""

    def lock(self) -> None:
        check_running("take a lock")
        engine_ask(OP_LOCK, ACQUIRE, cython.address(self.value), 0, 0, b"lock.lock")

    def trylock(self) -> bool:
        check_running("take a lock")
        return engine_ask(OP_TRYLOCK, ACQUIRE, cython.address(self.value), 0, 0, b"lock.trylock") != 0

    def unlock(self) -> None:
        check_running("give back a lock")
        engine_ask(OP_UNLOCK, RELEASE, cython.address(self.value), 0, 0, b"lock.unlock")

    def __enter__(self) -> Lock:
        self.lock()
        return self

    def __exit__(self, kind: object, error: object, traceback: object, /) -> None:
        self.unlock()


def smp_mb() -> None:
    """A full barrier."""
    ask(MP_SMP_MB, cython.NULL, 0, 0, b"word.smp_mb")


def smp_rmb() -> None:
    """Reads before it come before reads after it."""
    ask(MP_SMP_RMB, cython.NULL, 0, 0, b"word.smp_rmb")


def smp_wmb() -> None:
    """Writes before it come before writes after it."""
    ask(MP_SMP_WMB, cython.NULL, 0, 0, b"word.smp_wmb")


def cpu_relax() -> None:
    """One turn of a loop that waits: the CPU goes on when another has written a word that this turn has read. Without it,
    such a loop is explored turn by turn, and soon hits a bound."""
    ask(MP_CPU_RELAX, cython.NULL, 0, 0, b"word.cpu_relax")


def choose(nr: object, /) -> object:
    """One of 0 to nr - 1: each is explored. Instead of anything random."""
    if not 1 <= nr <= _MAX_WAYS:
        raise ValueError(f"choose({nr}): 1 to {_MAX_WAYS} ways")
    check_running("choose")
    return engine_ask(OP_CHOOSE, RELAXED, cython.NULL, nr, 0, b"word.choose")
