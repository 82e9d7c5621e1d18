"""Steps: watch one thread's atomic operations, kill the process at the n-th, or run something else there.

    with steps.trace() as hook:            # hook.steps == [("cmpxchg_acquire", "A:ownermap.claim"), ...]
        pool.alloc(64)

    with steps.kill_at(3, op="window"):    # in a child: dies before the third crash window
        pool.alloc(64)

    with steps.call_at(n, other) as hook:  # all of other() between steps n - 1 and n of alloc()
        pool.alloc(64)
    assert hook.fired                      # there was an n-th step

A step is one call of mp_machine.h by the thread that armed the hook: an atomic operation, a fence, a futex call, a
declared copy or a crash window. Every step is done natively, by all threads. `op` and `site` narrow what counts. A loop
over n from 1 until the hook has not fired visits every step.

One hook at a time in a process. Arm and leave it while no other thread is inside the core (see machine/hooks.py).
A forked child inherits the armed hook of the thread that forked.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.steps is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.signal import SIGKILL
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.string import strcmp
from cython.cimports.mempools.check.steps import pthread_self, pthread_t
from cython.cimports.mempools.machine.atomics import perform
from cython.cimports.mempools.machine.hooks import set_step
from cython.cimports.posix.signal import kill
from cython.cimports.posix.unistd import getpid

from mempools.machine import hooks

TRACE = cython.declare(cython.int, 0)
KILL = cython.declare(cython.int, 1)
CALL = cython.declare(cython.int, 2)

# What the step function reads. `_inside` keeps the steps of a called function out of the count.
_armed = cython.declare(object, None)
_thread = cython.declare(pthread_t, 0)
_inside = cython.declare(cython.bint, False)
_op = cython.declare(cython.int, -1)
_site = cython.declare(cython.p_const_char, cython.NULL)


@cython.cfunc
@cython.with_gil
@cython.exceptval(check=False)
def matched(op: cython.int, site: cython.p_const_char) -> cython.void:
    """A step that counts, before it is done."""
    global _inside
    hook: Hook = _armed
    hook.count += 1
    if hook.mode == TRACE:
        hook.taken.append((hooks.OP_NAMES[op], site.decode()))
        return
    if hook.fired or hook.count != hook.target:
        return
    if hook.mode == KILL:
        kill(getpid(), SIGKILL)
    hook.fired = True
    _inside = True
    try:
        hook.function()
    except BaseException as error:
        hook.error = error
    _inside = False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def step(
    site: cython.p_const_char, op: cython.int, size: cython.int, addr: cython.p_void, a: uint64_t, b: uint64_t
) -> uint64_t:
    if (
        pthread_self() == _thread
        and not _inside
        and (_op < 0 or op == _op)
        and (_site == cython.NULL or strcmp(site, _site) == 0)
    ):
        matched(op, site)
    return perform(op, size, addr, a, b)


@cython.final
@cython.cclass
class Hook:
    """What trace, kill_at and call_at return: armed from `with` to its end. `count` is the number of steps that
    matched, `fired` whether the n-th was reached; what a called function raised is raised when the `with` ends."""

    def __enter__(self) -> object:
        global _armed, _op, _site, _thread
        if _armed is not None:
            raise RuntimeError("a hook is armed already: leave its `with` first")
        _armed = self
        _op = self.op
        _site = cython.NULL if self.site is None else cython.cast(cython.p_char, self.site)
        _thread = pthread_self()
        set_step(step)
        return self

    def __exit__(self, kind: object, error: object, traceback: object, /):
        global _armed, _thread
        set_step(cython.NULL)
        _thread = 0
        _armed = None
        raised: object = self.error
        self.error = None
        if raised is not None:
            raise raised

    @property
    def steps(self) -> object:
        """The steps that matched: pairs of operation and site. Only trace keeps them."""
        return list(self.taken)


@cython.cfunc
def new_hook(mode: cython.int, n: object, function: object, op: object, site: object) -> Hook:
    if op is not None and op not in hooks.OP_NAMES:
        raise ValueError(f"{op!r} is no operation: take one of {', '.join(hooks.OP_NAMES)}")
    if n < 1:
        raise ValueError(f"steps count from 1, not {n}")
    hook: Hook = Hook.__new__(Hook)
    hook.mode = mode
    hook.target = n
    hook.op = -1 if op is None else hooks.OP_NAMES.index(op)
    hook.site = None if site is None else site.encode()
    hook.function = function
    hook.taken = []
    return hook


def trace(*, op: object = None, site: object = None) -> object:
    """Records this thread's steps: `hook.steps`, `hook.count`."""
    return new_hook(TRACE, 1, None, op, site)


def kill_at(n: object, *, op: object = None, site: object = None) -> object:
    """Kills this process with SIGKILL before its n-th matching step is done."""
    return new_hook(KILL, n, None, op, site)


def call_at(n: object, function: object, *, op: object = None, site: object = None) -> object:
    """Calls `function()` before the n-th matching step is done; its own steps are not counted."""
    return new_hook(CALL, n, function, op, site)
