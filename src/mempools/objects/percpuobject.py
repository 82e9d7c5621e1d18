"""L4: the public PerCpu, a thin object over pools/percpu.py. The synchronization story is there."""

import os

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.percpuobject is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.chunks import pool_known, pool_update
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.structs import KIND_PERCPU, NR_SLOTS, PAGE_BYTES
from cython.cimports.mempools.machine.atomics import fetch_add_relaxed, read_once, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.area import Area, area_uncharge, empty_area, fill_area
from cython.cimports.mempools.objects.percpucounter import PerCpuCounter, counter_of
from cython.cimports.mempools.objects.percpurefobject import PerCpuRef, new_ref
from cython.cimports.mempools.objects.percpustats import percpu_stats
from cython.cimports.mempools.objects.poolobject import PoolObject
from cython.cimports.mempools.objects.words import to_u64
from cython.cimports.mempools.parts.status import EXHAUSTED, MISMATCH, OK
from cython.cimports.mempools.pools.percpu import (
    PerCpuConfig,
    index_lock,
    index_unlock,
    percpu_alloc,
    percpu_free,
    percpu_setup,
    percpu_this_unit,
)
from cython.cimports.mempools.pools.percpucheck import percpu_check
from cython.cimports.mempools.pools.percpuindex import PERCPU_SHIFT, PerCpuTable, refresh
from cython.cimports.mempools.pools.percpumaintain import PERCPU_LOW, percpu_maintain
from cython.cimports.mempools.pools.percpuref import REF_BYTES
from cython.cimports.mempools.pools.unitcounter import COUNTER_ALIGN, COUNTER_BYTES

from mempools.errors import Corrupt, Exhausted, LayoutMismatch, WouldBlock
from mempools.objects.balancer import Balancer
from mempools.objects.contexts import check_wait
from mempools.objects.infos import Maintained, PerCpuStats
from mempools.objects.settling import what_stays

register_module(cython.address(this_module_step))


@cython.final
@cython.no_gc_clear
@cython.cclass
class PerCpu(PoolObject):
    """Memory of which every CPU has its own copy (the kernel's percpu allocator, mm/percpu.c; see `docs/design/percpu.md`).

    Made by `arena.percpu(name)`. An area of it is one allocation with a copy in each unit: a unit for each CPU, or with
    units="process" for each process that can use the arena. What is counted on the copy of the CPU one runs on costs no
    cache line that travels; the sum over the copies is what has a meaning.

    Freeing takes no lock, never waits, and may happen in destructors, weakref callbacks, Python signal handlers, event
    loops and forked children. Thread-safe, process-safe."""

    def __init__(self):
        raise TypeError("a PerCpu is made by Arena.percpu()")

    @property
    def nr_units(self) -> int:
        """How many copies an area has."""
        return self.units_ref.nr_units

    @property
    def unit_nbytes(self) -> int:
        """Bytes of a unit: the size of the largest area, and the distance between two copies of one."""
        return self.units_ref.unit_nbytes

    @property
    def units(self) -> str:
        """ "cpu" or "process": what a unit is for."""
        return "process" if self.units_ref.by_process else "cpu"

    @property
    def this_unit(self) -> int:
        """The unit of the CPU that runs this call (raw_smp_processor_id in include/linux/smp.h), or of this process. The thread
        may have moved to another CPU since. Any context. Thread-safe."""
        self.check_open()
        self.mapping.ensure_slot()
        return percpu_this_unit(cython.address(self.units_ref))

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def need_chunk(self) -> cython.int:
        """A pool has a chunk from the start, so that the first request may be one that cannot wait."""
        if pool_known(self.ref) == 0:
            percpu_free(cython.address(self.units_ref), self.claim(1, 1, True))
        return 0

    @cython.cfunc
    @cython.exceptval(0)
    def claim(self, nbytes: uint64_t, align: uint64_t, wait: cython.bint) -> uint64_t:
        address: uint64_t = 0
        status: cython.int
        while True:
            self.check_open()
            if wait:
                with cython.nogil:
                    status = percpu_alloc(cython.address(self.units_ref), nbytes, align, True, cython.address(address))
            else:
                status = percpu_alloc(cython.address(self.units_ref), nbytes, align, False, cython.address(address))
            if status == OK:
                if not wait and read_once(cython.address(self.units_ref.table.nr_empty), b"percpu.look") < PERCPU_LOW:
                    self.need_pages()
                return address
            if self.may_retry(status):
                continue
            if self.on_event is not None:
                self.on_event("alloc_fail", 0, nbytes)
            if status == EXHAUSTED and not wait:
                self.need_pages()
                raise WouldBlock(
                    f"pool {self.name!r}: no {nbytes} bytes (aligned to {align}) in the pages that are there; free "
                    "something, or ask with wait=True where waiting is allowed"
                )
            if status == EXHAUSTED:
                raise Exhausted(
                    f"pool {self.name!r}: no {nbytes} bytes (aligned to {align}), and the arena has no room for one more "
                    f"chunk of {self.units_ref.nr_units} units of {self.units_ref.unit_nbytes} bytes ("
                    f"{self.free_pages() * 4096} of {self.mapping.ref.nbytes} bytes are free, maybe in smaller pieces), or "
                    "the system has no memory for its pages"
                )
            self.fail(status, address, nbytes)

    def alloc(self, nbytes: object, *, align: object = None, wait: cython.bint = True) -> Area:
        """An area of `nbytes` bytes, zeroed in every unit (alloc_percpu_gfp in include/linux/percpu.h).

        At most `unit_nbytes`, rounded up to 4. `align`: bytes, a power of two up to a page; without it 8, or 4 for less than
        8 bytes. With wait=False only pages that are there already are used, and `WouldBlock` says that there is no room in
        them. Else it may wait for others that allocate, WaitForbidden where that would stop an event loop, and a chunk is
        added to the pool; Exhausted if the arena has no room, or the system no memory for the pages. ValueError for a size or
        alignment that no unit has. Whatever `quota.charge` raises if it refuses. wait=False from any context but C signal
        handlers. Thread-safe, process-safe, not lock-free."""
        size: uint64_t = to_u64(nbytes)
        step: uint64_t
        if align is None:
            step = 8 if size >= 8 else 4
        else:
            step = to_u64(align)
        if size == 0 or size > self.units_ref.unit_nbytes:
            self.check_open()
            raise ValueError(f"pool {self.name!r}: an area has 1 to {self.units_ref.unit_nbytes} bytes, not {size}")
        if step == 0 or step & (step - 1) or step > 4096:
            raise ValueError(f"align {step}: a power of two, at most 4096")
        if wait:
            check_wait(self, "PerCpu.alloc", "ask with wait=False")
        area: Area = empty_area(self, size)
        if self.quota is not None:
            self.charge(area)
        try:
            fill_area(area, self.claim(size, step, wait))
        except BaseException:
            area_uncharge(area)
            raise
        if self.on_event is not None:
            self.on_event("alloc", area.address, size)
        return area

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def charge(self, area: Area) -> cython.int:
        nbytes: uint64_t = ((area.nbytes - 1 >> PERCPU_SHIFT) + 1 << PERCPU_SHIFT) * self.units_ref.nr_units
        self.quota.charge(nbytes)
        area.quota = self.quota
        area.charged = nbytes
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def need_pages(self) -> cython.int:
        if self.balancer is not None:
            self.balancer.wake(self)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def came_back(self, nbytes: uint64_t) -> cython.int:
        """An area of this process was freed."""
        nbytes += fetch_add_relaxed(cython.address(self.freed), nbytes, b"percpu.freed")
        if nbytes >= self.units_ref.unit_nbytes:
            write_once(cython.address(self.freed), 0, b"percpu.freed")
            if pool_known(self.ref) > 1:
                self.need_pages()
        return 0

    def maintain(self) -> Maintained:
        """Give back pages that are too many, and keep some ready for requests that may not wait (pcpu_balance_workfn in
        mm/percpu.c): see `docs/design/percpu.md` for which and how many. With `balance` a thread does it when it is needed.

        May wait for others that allocate: WaitForbidden on event loops; may be called inside `noio`. Thread-safe, process-safe,
        not lock-free."""
        populated: uint64_t = 0
        depopulated: uint64_t = 0
        status: cython.int
        check_wait(self, "PerCpu.maintain", "call it from a thread")
        known: uint64_t = pool_known(self.ref)
        while True:
            self.check_open()
            with cython.nogil:
                status = percpu_maintain(
                    cython.address(self.units_ref), cython.address(populated), cython.address(depopulated)
                )
            if status == OK or not self.may_retry(status):
                break
        if status != OK and status != EXHAUSTED:
            self.fail(status, 0, 0)
        if self.on_event is not None:
            for _ in range(known, pool_known(self.ref)):
                self.on_event("create_chunk", 0, self.units_ref.unit_nbytes)
            if populated:
                self.on_event("populate", 0, populated * PAGE_BYTES)
            if depopulated:
                self.on_event("depopulate", 0, depopulated * PAGE_BYTES)
        return Maintained(populated, depopulated, status == OK)

    def _failed_since(self) -> bool:
        """Has a request that may not wait failed since the last maintenance?"""
        return (
            not self.mapping.closed
            and not self.ref.gone
            and read_once(cython.address(self.units_ref.table.no_wait_failed), b"percpu.look") != 0
        )

    def stats(self) -> PerCpuStats:
        """Counts, sizes and fragmentation now (/sys/kernel/debug/percpu_stats in mm/percpu-stats.c). Walks the owner maps, under
        the pool's short lock. Any context but C signal handlers; thread-safe, process-safe, not lock-free."""
        self.lock_index()
        try:
            return percpu_stats(cython.address(self.units_ref))
        finally:
            index_unlock(cython.address(self.units_ref))

    def check(self) -> None:
        """Corrupt if the index says otherwise than the owner maps, or an area lies on a page that does not exist: if it stays
        so, up to 5 s, while other threads or processes are there. Contexts and safety as of `stats`."""
        wrong = what_stays(lambda: self.look(), self.mapping)
        if wrong is not None:
            raise Corrupt(f"pool {self.name!r}: {wrong}")

    @cython.cfunc
    def look(self) -> object:
        """What is wrong at this moment, which may be somebody in the middle of a free: for `check`."""
        self.lock_index()
        wrong: cython.p_const_char = percpu_check(cython.address(self.units_ref))
        index_unlock(cython.address(self.units_ref))
        return wrong.decode() if wrong != cython.NULL else None

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def lock_index(self) -> cython.int:
        """It is the caller's, and what was freed is taken up."""
        status: cython.int
        while True:
            self.check_open()
            pool_update(self.ref)
            status = index_lock(cython.address(self.units_ref))
            if status == OK:
                refresh(cython.address(self.units_ref))
                return 0
            if not self.may_retry(status):
                self.fail(status, 0, 0)

    def counter(self, value: object = 0, *, batch: object = None, wait: cython.bint = True) -> PerCpuCounter:
        """A counter that starts at `value`, of 128 bytes in each unit (percpu_counter_init). `batch`: what a unit's part may come
        to before it is folded, 1 to 2**31; by default 256, or 16 times the number of units (the kernel's is an eighth of that:
        see `docs/benchmarks.md` for what it costs). Errors and contexts as of `alloc`. Thread-safe, process-safe, not
        lock-free."""
        return self.counters(1, value, batch=batch, wait=wait)[0]

    def counters(
        self, nr: object, value: object = 0, *, batch: object = None, wait: cython.bint = True
    ) -> list[PerCpuCounter]:
        """`nr` of them in one area, side by side, which is freed when all are dropped (percpu_counter_init_many). The rest as for
        `counter`."""
        made: list = []
        i: uint64_t
        if not 1 <= nr <= self.units_ref.unit_nbytes // COUNTER_BYTES:
            raise ValueError(
                f"nr {nr!r}: an area has room for 1 to {self.units_ref.unit_nbytes // COUNTER_BYTES} counters"
            )
        if batch is None:
            batch = max(256, 16 * self.units_ref.nr_units)
        if not 1 <= batch <= 1 << 31:
            raise ValueError(f"batch {batch!r}: 1 to 2**31")
        area: Area = self.alloc(nr * COUNTER_BYTES, align=COUNTER_ALIGN, wait=wait)
        for i in range(cython.cast(uint64_t, nr)):
            counter: PerCpuCounter = counter_of(area, i, batch)
            counter.set(value)
            made.append(counter)
        return made

    def refcount(
        self,
        release: object = None,
        *,
        atomic: cython.bint = False,
        dead: cython.bint = False,
        allow_reinit: cython.bint = False,
        wait: cython.bint = True,
    ) -> PerCpuRef:
        """A reference count with one reference, 64 bytes in each unit (percpu_ref_init); `release()` is called when the last one
        is put. `atomic`: one word for all CPUs from the start (PERCPU_REF_INIT_ATOMIC). `dead`: killed, zero and released, to
        be begun by `reinit` (PERCPU_REF_INIT_DEAD). `allow_reinit`: `reinit` may be called (PERCPU_REF_ALLOW_REINIT). Errors and
        contexts as of `alloc`. Thread-safe, process-safe, not lock-free."""
        if release is not None and not callable(release):
            raise TypeError(f"release {release!r}: it is called")
        return new_ref(self.alloc(REF_BYTES, align=REF_BYTES, wait=wait), release, atomic, dead, allow_reinit)

    def __repr__(self) -> str:
        return (
            f"<mempools.PerCpu {self.name!r}, {self.units_ref.nr_units} units of {self.units_ref.unit_nbytes} bytes, "
            f"one for each {self.units}>"
        )


def open_percpu(
    arena: object,
    mapping: Mapping,
    name: str,
    units: str | None,
    nr_units: int,
    unit_nbytes: int,
    nr_shares: int | None,
    balance: bool,
    quota: object,
) -> PerCpu:
    """For Arena: the pool of that name, made if absent; nr_shares None: KeyError if absent. What is None or 0 is as it is, or by
    default."""
    pool: PerCpu = PerCpu.__new__(PerCpu)
    pool.balancer = Balancer() if balance else None
    pool.quota = quota
    want: PerCpuConfig
    status: cython.int
    pool.arena = arena
    want.by_process = units == "process"
    want.given = (units is not None or nr_units > 0) + (2 if nr_units > 0 else 0) + (4 if unit_nbytes > 0 else 0)
    if units == "process":
        want.nr_units = NR_SLOTS + 1
    else:
        want.nr_units = nr_units if nr_units > 0 else max(2, os.sysconf("SC_NPROCESSORS_CONF"))
    want.unit_nbytes = unit_nbytes if unit_nbytes > 0 else 32 << 10
    pool.open_ref(
        mapping,
        name,
        KIND_PERCPU,
        PERCPU_SHIFT,
        0,
        0,
        cython.sizeof(PerCpuTable),
        0 if nr_shares is None else nr_shares,
        nr_shares is not None,
    )
    while True:
        pool.check_open()
        status = percpu_setup(pool.ref, cython.address(want), cython.address(pool.units_ref))
        if status == OK:
            break
        if status == MISMATCH:
            raise LayoutMismatch(
                f"{name!r} has {pool.nr_units} units of {pool.unit_nbytes} bytes, one for each {pool.units}: open it with "
                "its own configuration, or choose another name"
            )
        if not pool.may_retry(status):
            pool.fail(status, 0, 0)
    pool.need_chunk()
    return pool
