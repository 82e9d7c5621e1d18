"""L4: Area, the owner of one area of a PerCpu pool.

An Area frees its memory when it is dropped, unless a view or a word of it is there, which keep it alive; `free` gives it back
earlier, and refuses while they exist. As in objects/block.py the number of views and the fact of being freed are one word: a
view is counted only if the word is not FREED, FREED is set only if it is 0. Garbage and fork: as there, too.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.objects.area is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.cpython.buffer import PyBUF_FORMAT, PyBUF_STRIDES
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.machine.atomics import copy, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.percpuobject import PerCpu
from cython.cimports.mempools.objects.percpuword import word_of
from cython.cimports.mempools.objects.sending import Arrived, Sent, receive, send, unpack
from cython.cimports.mempools.objects.words import to_u64
from cython.cimports.mempools.parts.status import DOUBLE_FREE, OK
from cython.cimports.mempools.parts.viewcount import VIEWS_FREED, view_begin, view_end, views_end, views_ended
from cython.cimports.mempools.pools.percpu import percpu_free, percpu_freed, percpu_ptr
from cython.cimports.mempools.pools.shares import (
    Share,
    share_drop,
)

from mempools.errors import Busy, NotOwned

register_module(cython.address(this_module_step))


@cython.cfunc
def empty_area(pool: PerCpu, nbytes: uint64_t) -> Area:
    """An Area that owns nothing yet: made before its memory is claimed, so that no claim is lost for want of an object."""
    area: Area = Area.__new__(Area)
    area.pool = pool
    area.nbytes = nbytes
    area.exports = VIEWS_FREED
    return area


@cython.cfunc
@cython.exceptval(check=False)
def area_uncharge(area: Area) -> cython.void:
    """The account has what the area was charged with; once."""
    quota = area.quota
    if quota is not None:
        area.quota = None
        quota.uncharge(area.charged)


@cython.cfunc
@cython.exceptval(check=False)
def fill_area(area: Area, address: uint64_t) -> cython.void:
    """The memory at `address` is the area's from now on."""
    area.address = address
    area.registration = area.pool.ref.arena.slot[1]
    area.shape[0] = area.pool.units_ref.nr_units
    area.shape[1] = area.nbytes
    area.strides[0] = area.pool.units_ref.unit_nbytes
    area.strides[1] = 1
    area.exports = 0


@cython.final
@cython.no_gc_clear
@cython.cclass
class Area:
    """`nbytes` bytes in each unit of a PerCpu pool.

    A writable buffer of shape (units, nbytes): `memoryview(area)[unit, byte]`, `area.array(dtype)` for numpy; `area.word()` for
    atomic operations on this CPU's copy. Freed when dropped, by `free()`, or at the end of a `with` block. Pickling it
    shares the memory with the process that unpickles it: each pickle is for one receiver, and the area is freed when its last
    holder frees it or has died. Plain writes through a view are not atomic: write only what nobody else changes.
    Thread-safe, process-safe; freeing is legal in destructors, weakref callbacks, signal handlers and on event loops."""

    def __init__(self):
        raise TypeError("areas come from PerCpu.alloc()")

    @property
    def offset(self) -> int:
        """Bytes from the arena's start to the first unit's copy; each next one is `pool.unit_nbytes` further."""
        return self.address

    @property
    def freed(self) -> bool:
        return views_ended(cython.address(self.exports))

    @property
    def is_shared(self) -> bool:
        """Whether other processes hold the area, or may: it was pickled, or came by a pickle."""
        return self.shared

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def check_made(self) -> cython.int:
        if self.pool is None:  # by Area.__new__, not by a pool
            self.__init__()
        return 0

    def __repr__(self):
        self.check_made()
        state = "freed" if self.freed else "shared" if self.shared else "own"
        return f"<mempools.Area {self.nbytes} bytes at {self.address:#x} of {self.pool.name!r}, {state}>"

    # ---- the end

    @cython.cfunc
    @cython.exceptval(-100, check=False)
    def give_back(self) -> cython.int:
        """Frees or drops; OK, or why not. What it tells others may raise, when it is done."""
        status: cython.int
        if self.shared:
            status = share_drop(self.pool.ref, cython.address(self.share), False)
            percpu_freed(cython.address(self.pool.units_ref), self.address, self.nbytes)
        else:
            status = percpu_free(cython.address(self.pool.units_ref), self.address)
        if status == OK:
            area_uncharge(self)
            if self.pool.on_event is not None:
                self.pool.on_event("free", self.address, self.nbytes)
            self.pool.came_back(self.nbytes)
        return status

    def __dealloc__(self):
        # Plain: nobody else has the object any more. Another registration than at birth: a forked child.
        if self.pool is not None and self.exports != VIEWS_FREED and self.registration == self.pool.ref.arena.slot[1]:
            self.give_back()

    def free(self) -> None:
        """Give the memory back now (free_percpu in mm/percpu.c); of a shared area, this process's hold.

        Busy while views or words exist, NotOwned if it is freed already or belongs to the process that this one was forked
        from: nothing is changed then. Legal in every context but C signal handlers. Thread-safe, process-safe, lock-free."""
        self.check_made()
        seen: uint64_t = views_end(cython.address(self.exports))
        status: cython.int
        if seen == VIEWS_FREED:
            self.pool.fail(DOUBLE_FREE, self.address, self.nbytes)
        if seen != 0:
            raise Busy(f"{self!r}: {seen} views or words of it exist; release them first")
        if self.registration != self.pool.ref.arena.slot[1]:
            self.exports = 0
            raise NotOwned(f"{self!r} belongs to the process that this one was forked from: only that one can free it")
        status = self.give_back()
        if status != OK:
            self.pool.fail(status, self.address, self.nbytes)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if not self.freed:
            self.free()

    # ---- views

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def hold(self) -> cython.int:
        """One view or word more: the area cannot be freed before `let_go`."""
        self.check_made()
        self.pool.check_open()
        if not view_begin(cython.address(self.exports)):
            raise NotOwned(f"{self!r}: a use of a freed area")
        self.pool.mapping.export_acquire()
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def let_go(self) -> cython.void:
        view_end(cython.address(self.exports))
        self.pool.mapping.export_release()

    @cython.cfunc
    @cython.exceptval(check=False)
    def copy_of(self, unit: uint64_t) -> cython.p_char:
        return percpu_ptr(cython.address(self.pool.units_ref), self.address, unit)

    def __getbuffer__(self, view: cython.pointer(Py_buffer), flags: cython.int):
        if flags & PyBUF_STRIDES != PyBUF_STRIDES:
            raise BufferError(f"{self!r}: its copies do not lie side by side; ask for a buffer with strides")
        self.hold()
        view.buf = self.copy_of(0)
        view.obj = self
        view.len = self.shape[0] * self.shape[1]
        view.itemsize = 1
        view.readonly = False
        view.format = cython.NULL
        if flags & PyBUF_FORMAT:
            view.format = b"B"
        view.ndim = 2
        view.shape = self.shape
        view.strides = self.strides
        view.suboffsets = cython.NULL
        view.internal = cython.NULL

    def __releasebuffer__(self, view: cython.pointer(Py_buffer)):
        self.let_go()

    def word(self, offset: object = 0, format: str = "q") -> object:
        """The word at byte `offset` of each copy, for atomic operations (this_cpu_ptr in include/linux/percpu-defs.h).

        `format`: b, h, i, q for signed words of 1, 2, 4, 8 bytes, capital letters for unsigned ones. ValueError for a word that
        is misaligned or not inside the area. The area cannot be freed while the word exists. Thread-safe."""
        self.check_made()
        return word_of(self, to_u64(offset), format)

    def array(self, dtype: object = "u1") -> object:
        """A numpy array of shape (units, nbytes // itemsize) over the area itself, no copy (per_cpu_ptr for every unit).

        The area lives as long as the array. ValueError if the size is no multiple of the item's. ImportError without
        numpy. Thread-safe."""
        return _make_array(self, dtype)

    def read(self, unit: object, /) -> bytes:
        """A copy of one unit's bytes (per_cpu_ptr in include/linux/percpu-defs.h). IndexError for a unit that is not there. What
        others write meanwhile may be seen in part. Thread-safe, process-safe, lock-free."""
        number: uint64_t = to_u64(unit)
        self.hold()
        try:
            if number >= self.pool.units_ref.nr_units:
                raise IndexError(f"unit {number}: there are {self.pool.units_ref.nr_units}")
            found: bytes = bytes(self.nbytes)
            copy(
                cython.cast(cython.p_void, cython.cast(cython.p_char, found)),
                self.copy_of(number),
                self.nbytes,
                b"area.read",
            )
            return found
        finally:
            self.let_go()

    # ---- sending

    def __reduce__(self):
        self.check_made()
        self.pool.check_open()
        sent: Sent = [
            self.address,
            self.nbytes,
            self.registration,
            cython.address(self.exports),
            cython.address(self.shared),
            cython.address(self.share),
        ]
        where = send(self, "area", self.pool, cython.address(sent), 0)
        return _load, (self.pool.arena, self.pool.name, where)

    def __copy__(self):
        raise TypeError("an area has one owner: copy its bytes, or pickle it to share it")

    def __deepcopy__(self, memo):
        raise TypeError("an area has one owner: copy its bytes, or pickle it to share it")


_make_array = None


def make_arrays_with(maker):
    """At import, by the layer that knows numpy."""
    global _make_array
    _make_array = maker


def _load(arena, name, where):
    """The other end of Area's pickle: redeems the ticket."""
    arrived: Arrived
    held: Share
    unpack(where, cython.address(arrived))
    pool: PerCpu = arena._known_percpu(name)
    area: Area = empty_area(pool, arrived.nbytes)
    receive(pool, cython.address(arrived), cython.address(held))
    area.shared = True
    area.share = held
    fill_area(area, arrived.address)
    return area
