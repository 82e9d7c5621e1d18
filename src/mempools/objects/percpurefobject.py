"""L4: PerCpuRef as Python calls it. The synchronization story is in pools/percpuref.py."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.percpurefobject is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.proctable import registration_lives
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.area import Area
from cython.cimports.mempools.parts.status import DOUBLE_FREE, OK
from cython.cimports.mempools.pools.percpu import percpu_this_unit
from cython.cimports.mempools.pools.percpuref import (
    REF_ATOMIC,
    REF_BIASED,
    REF_BYTES,
    REF_DEAD,
    REF_INITIAL,
    REF_OVER,
    REF_REINIT,
    REF_ZERO,
    ref_claim_release,
    ref_count,
    ref_fold,
    ref_get,
    ref_init,
    ref_is_zero,
    ref_kill,
    ref_put,
    ref_reinit,
    ref_released,
    ref_releaser,
    ref_resurrect,
    ref_shared,
    ref_to_atomic,
    ref_to_percpu,
)

from mempools.errors import Busy, NotOwned

register_module(cython.address(this_module_step))

_MAX_NR = cython.declare(uint64_t, 1 << 30)


@cython.cfunc
def ref_of(area: Area, release: object) -> PerCpuRef:
    """For PerCpu.refcount and for what arrives by a pickle: a count in an area."""
    if area.nbytes < REF_BYTES or area.address & (REF_BYTES - 1):
        raise ValueError(f"{area!r} is no count's: {REF_BYTES} aligned bytes are needed")
    ref: PerCpuRef = PerCpuRef.__new__(PerCpuRef)
    area.hold()
    ref.area = area
    ref.release = release
    ref.ref.first = area.copy_of(0)
    ref.ref.stride = area.pool.units_ref.unit_nbytes
    ref.ref.nr_units = area.pool.units_ref.nr_units
    return ref


@cython.cfunc
def new_ref(area: Area, release: object, atomic: cython.bint, dead: cython.bint, reinit: cython.bint) -> PerCpuRef:
    ref: PerCpuRef = ref_of(area, release)
    flags: uint64_t = REF_REINIT if reinit or dead else 0
    if atomic:
        flags |= REF_ATOMIC
    if dead:
        flags |= REF_DEAD
    else:
        flags |= REF_INITIAL | (0 if atomic else REF_BIASED)
    ref_init(cython.address(ref.ref), flags)
    return ref


@cython.final
@cython.no_gc_clear
@cython.cclass
class PerCpuRef:
    """A count of who uses an object, with a part for each CPU until it is killed, from `PerCpu.refcount()`
    (lib/percpu-refcount.c).

    It begins with one reference, the initial one, which `kill()` drops. When the last one is put, `release()` is called, in the
    process and the thread that put it: once. While it lives nobody can say how many references there are, and it does not end;
    a get or a put then touches no line that other CPUs use. `with ref:` holds a reference.

    Pickling it shares it with the process that unpickles it, which has a `release` of its own to set, or none. References of a
    process that was killed stay: nobody knows whose they were. What a killed process had begun to do with the count itself
    `reap()` finishes.

    All methods may be called from any context but C signal handlers. Thread-safe, process-safe; lock-free, nobody waits."""

    def __init__(self):
        raise TypeError("counts come from PerCpu.refcount()")

    def __dealloc__(self):
        if self.area is not None:
            self.area.let_go()

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def check_made(self) -> cython.int:
        if self.ref.first == cython.NULL:  # by PerCpuRef.__new__, not by a pool
            self.__init__()
        if self.area.pool.ref.gone:
            self.area.pool.check_open()
        return 0

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def take(self, nr: uint64_t, live: cython.bint) -> cython.bint:
        self.check_made()
        return (
            ref_get(cython.address(self.ref), percpu_this_unit(cython.address(self.area.pool.units_ref)), nr, live)
            == OK
        )

    @cython.cfunc
    @cython.exceptval(0, check=False)
    def check_nr(self, nr: object) -> uint64_t:
        if not 1 <= nr <= _MAX_NR:
            raise ValueError(f"nr {nr!r}: 1 to 2**30 references at a time")
        return nr

    # ---- for users

    def get(self) -> None:
        """One reference more, for one who has one or knows that there is one (percpu_ref_get). NotOwned if it is zero."""
        if not self.take(1, False):
            self.is_gone()

    def get_many(self, nr: object, /) -> None:
        """As `get`, `nr` of them, 1 to 2**30 (percpu_ref_get_many)."""
        if not self.take(self.check_nr(nr), False):
            self.is_gone()

    def tryget(self) -> bool:
        """One reference more, unless it is zero (percpu_ref_tryget); whether."""
        return self.take(1, False)

    def tryget_many(self, nr: object, /) -> bool:
        """As `tryget`, all or none of 1 to 2**30 (percpu_ref_tryget_many)."""
        return self.take(self.check_nr(nr), False)

    def tryget_live(self) -> bool:
        """One reference more, unless it is killed (percpu_ref_tryget_live); whether. While `kill` is on its way it may still
        succeed on some CPU; when `kill` returns, or calls `confirm`, no more."""
        return self.take(1, True)

    def put(self) -> None:
        """One reference less (percpu_ref_put); the last one calls `release()`, whose exception this raises.

        NotOwned, and nothing changed, if there is none. While it lives nobody can tell: then `kill` or `switch_to_atomic` finds
        it out, and the object is never released."""
        self.give(1)

    def put_many(self, nr: object, /) -> None:
        """As `put`, `nr` of them, 1 to 2**30 (percpu_ref_put_many)."""
        self.give(self.check_nr(nr))

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def give(self, nr: uint64_t) -> cython.int:
        status: cython.int
        self.check_made()
        status = ref_put(cython.address(self.ref), percpu_this_unit(cython.address(self.area.pool.units_ref)), nr)
        if status == DOUBLE_FREE:
            raise NotOwned(f"{self!r}: {nr} references put, and there are {self.count()}; nothing was changed")
        return 0 if status == OK else self.settle(status)

    def __enter__(self):
        if not self.take(1, False):
            self.is_gone()
        return self

    def __exit__(self, *exc):
        self.give(1)

    # ---- the mode and the end

    def kill(self) -> None:
        """Drop the initial reference; nobody gets a live one from now on (percpu_ref_kill). NotOwned if it is killed already."""
        self.kill_and_confirm(None)

    def kill_and_confirm(self, confirm: object, /) -> None:
        """As `kill`; `confirm()` is called when no CPU gives a live reference any more, and before the release
        (percpu_ref_kill_and_confirm). If it raises, the kill goes on, and raises that in the end. Here nothing is put off:
        all has happened when this returns."""
        self.check_made()
        if confirm is not None and not callable(confirm):
            raise TypeError(f"confirm {confirm!r}: it is called")
        if ref_kill(cython.address(self.ref)) != OK:
            raise NotOwned(f"{self!r} is killed already: its initial reference is gone")
        try:
            if confirm is not None:
                confirm()
        finally:
            self.settle(ref_fold(cython.address(self.ref)))

    def switch_to_atomic(self, confirm: object = None, /) -> None:
        """One word for all CPUs from now on (percpu_ref_switch_to_atomic_sync): `is_zero` and underflow are seen at once. It
        stays so over `reinit` and `resurrect`, until `switch_to_percpu`. `confirm()` is called when it is so. NotOwned if
        more references were put than got."""
        self.check_made()
        if confirm is not None and not callable(confirm):
            raise TypeError(f"confirm {confirm!r}: it is called")
        self.settle(ref_to_atomic(cython.address(self.ref)))
        if confirm is not None:
            confirm()

    def switch_to_percpu(self) -> None:
        """A part for each CPU again (percpu_ref_switch_to_percpu). Busy if it is killed: `reinit` or `resurrect` do it then."""
        self.check_made()
        if ref_to_percpu(cython.address(self.ref)) != OK:
            raise Busy(f"{self!r} is killed: reinit() or resurrect() it first")

    def reinit(self) -> None:
        """A new life with one reference, after the last one's release (percpu_ref_reinit). Busy if it was made without
        `allow_reinit`, is not zero, or its release is not over."""
        self.check_made()
        if ref_reinit(cython.address(self.ref)) != OK:
            raise Busy(f"{self!r} cannot begin anew: it must be made with allow_reinit, be zero, and be released")

    def resurrect(self) -> None:
        """Undo `kill` before it is zero: it has its initial reference again (percpu_ref_resurrect). Busy if it is not killed, is
        zero, or another process is in the middle of its `kill`."""
        self.check_made()
        if ref_resurrect(cython.address(self.ref)) != OK:
            raise Busy(f"{self!r} cannot be resurrected: it must be killed, and still be used")

    def reap(self) -> bool:
        """Finish what a process that was killed had begun: a kill, or a release, which is then done here (again, if it died in
        the middle of it). True if `release()` was called. A kill that a living process is in the middle of is finished, too: the
        release may then come before its `confirm` returns. The kernel needs no such thing: its CPUs do not die."""
        shared: uint64_t
        dead: uint64_t
        self.check_made()
        self.area.pool.mapping.recover()
        shared = read_once(ref_shared(cython.address(self.ref)), b"percpuref.reap")
        if shared & REF_DEAD and shared & REF_BIASED:
            if ref_fold(cython.address(self.ref)) == DOUBLE_FREE:
                self.settle(DOUBLE_FREE)
        dead = ref_releaser(cython.address(self.ref))
        if dead == REF_OVER or (dead and registration_lives(self.area.pool.ref.arena, dead)):
            return False
        return self.run_release(dead)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def settle(self, status: cython.int) -> cython.int:
        """What a put or a change of mode has brought about."""
        if status == REF_ZERO:
            self.run_release(0)
        elif status == DOUBLE_FREE:
            raise NotOwned(f"{self!r}: more references are put than were got; the object is never released")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def run_release(self, dead: uint64_t) -> cython.bint:
        self.area.pool.mapping.ensure_slot()
        if ref_claim_release(cython.address(self.ref), self.area.pool.ref.arena.slot[1], dead) != OK:
            return False  # not zero, or another's
        try:
            if self.release is not None:
                self.release()
        finally:
            ref_released(cython.address(self.ref))
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def is_gone(self) -> cython.int:
        raise NotOwned(f"{self!r}: the last reference was put, and the object released")

    # ---- looking

    @cython.cfunc
    @cython.exceptval(check=True)
    def look(self) -> uint64_t:
        self.check_made()
        return read_once(ref_shared(cython.address(self.ref)), b"percpuref.look")

    @property
    def is_zero(self) -> bool:
        """Is the last reference put? (percpu_ref_is_zero)"""
        return ref_is_zero(self.look())

    @property
    def is_dying(self) -> bool:
        """Is it killed? (percpu_ref_is_dying)"""
        return self.look() & REF_DEAD != 0

    @property
    def is_atomic(self) -> bool:
        """Is it one word for all CPUs?"""
        return self.look() & REF_BIASED == 0

    def count(self) -> int:
        """References, the initial one included: exact while nobody gets or puts."""
        self.check_made()
        return ref_count(cython.address(self.ref))

    def exit(self) -> None:
        """Free the count's memory, which no method can be used on after it (percpu_ref_exit); of one that was pickled, this
        process's hold. Busy while another object of this process uses the same area."""
        area: Area = self.area
        self.check_made()
        self.ref.first = cython.NULL
        self.area = None
        area.let_go()
        area.free()

    def __reduce__(self):
        self.check_made()
        return _load, (self.area,)

    def __repr__(self) -> str:
        if self.ref.first == cython.NULL:
            return "<mempools.PerCpuRef, freed>"
        state = "zero" if self.is_zero else "killed" if self.is_dying else "atomic" if self.is_atomic else "living"
        return f"<mempools.PerCpuRef of {self.area!r}, {state}>"


def _load(area: Area) -> PerCpuRef:
    """The other end of a count's pickle."""
    return ref_of(area, None)
