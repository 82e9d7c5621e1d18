"""L4: the size classes of a ZsPool as Python looks at and compacts them, and the way from a status of pools/zsalloc.py to an
exception."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.zsclasses is compiled code: run `make build` in a checkout, or install the wheel"
    )


from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.chunks import pool_update
from cython.cimports.mempools.layout.structs import NR_SLOTS
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.poolobject import PoolObject
from cython.cimports.mempools.objects.words import to_u64
from cython.cimports.mempools.parts.robustlock import robust_holder
from cython.cimports.mempools.parts.status import (
    BUSY,
    EXHAUSTED,
    NOT_A_BLOCK,
    NOT_FOUND,
    NOT_REGISTERED,
    OK,
    STALE,
    TABLE_FULL,
    TIMED_OUT,
)
from cython.cimports.mempools.pools.zscompact import (
    MAX_PASSED,
    Compaction,
    can_compact,
    compact_trylock,
    compact_turn,
    compact_unlock,
    zs_trim,
)
from cython.cimports.mempools.pools.zsdefer import nr_deferred, zs_drain
from cython.cimports.mempools.pools.zsgeometry import MAX_OBJECT, NR_GROUPS, class_of
from cython.cimports.mempools.pools.zsmend import ClassReport, zs_check
from cython.cimports.mempools.pools.zsrehome import (
    Rehoming,
    rehome_close,
    rehome_finish,
    rehome_pick,
    rehome_plan,
    rehome_turn,
)
from cython.cimports.mempools.pools.zstable import NR_PINS, ZS_SHIFT, ZsClass, zs_class, zs_root
from cython.cimports.mempools.pools.zsunback import zs_unback

from mempools.errors import Busy, Corrupt, Exhausted, NotOwned, StaleHandle
from mempools.objects.infos import ZsClassInfo, ZsPoolStats

register_module(cython.address(this_module_step))

_LOCK_NS = cython.declare(uint64_t, 100_000_000)  # of waiting for a lock, before a look whether its holder lives


@cython.no_gc_clear
@cython.cclass
class ZsClasses(PoolObject):
    """Base of ZsPool, of ZramPages and of a Store's index."""

    # ---- statuses

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def may_call(self, status: cython.int) -> cython.bint:
        """Can the same call succeed now? What is deferred, and empty zspages, are room, too; a call that fails leaves none
        behind."""
        pages: uint64_t = 0
        nr: uint64_t
        if status == TIMED_OUT:
            self.check_locks()
        if self.may_retry(status):
            return True
        if status == EXHAUSTED:
            nr = self.drain_all()
            zs_trim(self.ref, self.g, False, cython.address(pages), _LOCK_NS)
            return nr > 0 or pages > 0
        return False

    @cython.cfunc
    @cython.exceptval(0)
    def drain_all(self) -> uint64_t:
        """Ends what any process has deferred: how many objects."""
        slot: uint64_t
        ended: uint64_t = 0
        nr: uint64_t = 0
        status: cython.int
        for slot in range(1, NR_SLOTS + 1):
            if read_once(cython.address(zs_root(self.ref).queues[slot]), b"zsclasses.queue") == 0:
                continue
            while True:
                with cython.nogil:
                    status = zs_drain(self.ref, self.g, slot, cython.address(ended), _LOCK_NS)
                nr += ended
                self.check_open()
                if status == OK:
                    break
                if not self.may_call(status):
                    self.fail(status, 0, 0)
        return nr

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def check_locks(self) -> cython.int:
        """A lock that nobody can have is one that nobody gives back."""
        c: uint64_t
        for c in range(self.g.nr):
            if robust_holder(cython.address(zs_class(self.ref, c).lock)) > NR_SLOTS:
                raise Corrupt(f"pool {self.name!r}: nobody can have the lock of a class as its word says")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail_handle(self, status: cython.int, handle: uint64_t) -> cython.int:
        """Raises what a status means for a handle."""
        self.check_open()
        where = f"pool {self.name!r}, handle {handle:#x}"
        if status == STALE:
            raise StaleHandle(
                f"{where}: its object has been freed: by free(), or because the process died that allocated it"
            )
        if status == NOT_A_BLOCK:
            raise NotOwned(f"{where}: no object of this pool ever had it")
        if status == BUSY:
            raise Busy(f"{where}: somebody reads or writes the object: free it when its views are closed")
        if status == TABLE_FULL:
            raise Exhausted(f"{where}: this process has {NR_PINS} views open: close some")
        self.fail(status, handle, 0)
        return 0

    # ---- looking

    @property
    def chain(self) -> int:
        """Pages of a zspage of objects of less than a page, at most."""
        self.check_open()
        return self.g.chain

    @property
    def huge_class_size(self) -> int:
        """The smallest object, of those of at most a page, that gets a page of its own (zs_huge_class_size in mm/zsmalloc.c)."""
        self.check_open()
        return self.g.huge_size

    def class_of(self, nbytes: object, /) -> tuple[int, int, int]:
        """The class of objects of `nbytes` bytes: bytes of a slot, pages of a zspage, slots of a zspage (zs_lookup_class_index in
        mm/zsmalloc.c, but with the object's header counted in). ValueError for a size that no object has."""
        size: uint64_t = to_u64(nbytes)
        c: cython.int
        self.check_open()
        c = class_of(self.g, size)
        if c < 0:
            raise ValueError(f"pool {self.name!r}: an object has 1 to {MAX_OBJECT} bytes, not {size}")
        return self.g.shapes[c].size, self.g.shapes[c].pages, self.g.shapes[c].objs

    def class_table(self) -> tuple[ZsClassInfo, ...]:
        """Every class, smallest first: see ZsClassInfo (zsmalloc/POOL/classes in debugfs). A moment's picture, without a lock.
        Thread-safe, process-safe, lock-free."""
        c: uint64_t
        group: uint64_t
        k: cython.pointer(ZsClass)
        rows: list = []
        self.check_open()
        for c in range(self.g.nr):
            k = zs_class(self.ref, c)
            nr: uint64_t = read_once(cython.address(k.nr_zspages), b"zsclasses.look")
            counts = [read_once(cython.address(k.counts[group]), b"zsclasses.look") for group in range(NR_GROUPS)]
            rows.append(
                ZsClassInfo(
                    c,
                    self.g.shapes[c].size,
                    counts[0],
                    tuple(counts[1:]),
                    nr * self.g.shapes[c].objs,
                    read_once(cython.address(k.inuse), b"zsclasses.look"),
                    nr * self.g.shapes[c].pages,
                    self.g.shapes[c].pages,
                    self.g.shapes[c].objs,
                    can_compact(self.ref, self.g, c),
                )
            )
        return tuple(rows)

    def stats(self) -> ZsPoolStats:
        """Sums over the classes, and what compaction has done: see ZsPoolStats (zs_get_total_pages and zs_pool_stats in
        mm/zsmalloc.c). A moment's picture, without a lock. Thread-safe, process-safe, lock-free."""
        c: uint64_t
        nr: uint64_t
        objects: uint64_t = 0
        zspages: uint64_t = 0
        pages: uint64_t = 0
        nr_alloc: uint64_t = 0
        self.check_open()
        for c in range(self.g.nr):
            nr_alloc += read_once(cython.address(zs_class(self.ref, c).nr_alloc), b"zsclasses.look")
            nr = read_once(cython.address(zs_class(self.ref, c).nr_zspages), b"zsclasses.look")
            objects += read_once(cython.address(zs_class(self.ref, c).inuse), b"zsclasses.look")
            zspages += nr
            pages += nr * self.g.shapes[c].pages
        return ZsPoolStats(
            objects,
            zspages,
            pages,
            pages << ZS_SHIFT,
            self.can_compact(),
            read_once(cython.address(zs_root(self.ref).pages_compacted), b"zsclasses.look"),
            read_once(cython.address(zs_root(self.ref).nr_moved), b"zsclasses.look"),
            read_once(cython.address(zs_root(self.ref).nr_skipped), b"zsclasses.look"),
            nr_alloc,
            nr_deferred(self.ref),
        )

    def check(self) -> None:
        """Compares every cell, slot, list and count of every class; Corrupt says what contradicts itself. Each class is locked
        for as long as it takes: for tests and repairs. Thread-safe, process-safe, not lock-free."""
        report: ClassReport
        c: uint64_t
        status: cython.int
        wrong: list = []
        self.check_open()
        for c in range(self.g.nr):
            while True:
                status = zs_check(self.ref, self.g, c, cython.address(report), _LOCK_NS)
                if status == OK or not self.may_call(status):
                    break
            if status != OK:
                self.fail(status, 0, 0)
            found: dict = report
            wrong += [
                f"class of {self.g.shapes[c].size} bytes: {what} {nr}"
                for what, nr in found.items()
                if nr and what != "objects"
            ]
        if wrong:
            raise Corrupt(f"pool {self.name!r}: " + "; ".join(wrong))

    def can_compact(self) -> int:
        """About how many pages `compact` could give back, empty zspages included: a moment's estimate, without a lock.
        Thread-safe, process-safe, lock-free."""
        c: uint64_t
        pages: uint64_t = 0
        self.check_open()
        for c in range(self.g.nr):
            pages += can_compact(self.ref, self.g, c)
        return pages

    # ---- compaction

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def begin_compaction(self) -> cython.bint:
        """Has this thread the lock of compaction? Not if another one, alive, has it."""
        status: cython.int
        self.check_open()
        while True:
            status = compact_trylock(self.ref)
            if status == OK:
                return True
            if status == BUSY and self.mapping.recover() == 0:
                return False
            if status == NOT_REGISTERED:
                self.may_retry(status)

    @cython.cfunc
    @cython.exceptval(check=False)
    def note_fixed(self, state: cython.pointer(Rehoming)) -> cython.void:
        """Which classes have objects that others read without a pin: here none."""

    def rehome(self) -> int:
        """Moves objects out of the ends of the pool's chunks, and gives their pages back to the arena, for its other pools, and
        their memory to the system: how many. The pool takes them again when it needs them.

        For after `compact`, which moves objects of one size together; this one moves whole pages (zs_page_migrate in
        mm/zsmalloc.c). The pages with the pool's own tables stay, and what lies before them in the same chunk; a pool with a
        size of its own keeps all of it; and what somebody reads keeps its chunk. Meanwhile an alloc of another process may take
        new pages from the arena. 0 if another thread or process compacts the pool. Not for signal handlers. Thread-safe,
        process-safe, not lock-free."""
        state: Rehoming
        pages: uint64_t = 0
        status: cython.int
        i: cython.int
        held: bytearray
        self.check_open()
        self.drain_all()
        if not self.begin_compaction():
            return 0
        state.tried = 0
        for i in range(4):
            state.fixed[i] = 0
        self.note_fixed(cython.address(state))
        try:
            pool_update(self.ref)
            while rehome_pick(self.ref, cython.address(state)) == OK:
                held = bytearray(self.ref.chunks[state.chunk].nr_words)
                state.held = cython.cast(cython.pointer(cython.uchar), PyByteArray_AS_STRING(held))
                status = rehome_plan(self.ref, self.g, cython.address(state))
                if status != OK:
                    continue
                try:
                    rehome_close(self.ref, cython.address(state))
                    while status == OK:
                        with cython.nogil:
                            status = rehome_turn(self.ref, self.g, cython.address(state), _LOCK_NS)
                        self.check_open()
                        if status == TIMED_OUT and self.may_call(status):
                            status = OK
                finally:
                    if not self.mapping.closed and not self.ref.gone:
                        with cython.nogil:
                            status = rehome_finish(self.ref, cython.address(state))
                if status == OK:
                    pages += state.nr
        finally:
            if not self.mapping.closed and not self.ref.gone:
                compact_unlock(self.ref)
        return pages

    def compact(self, max_pages: object = None) -> int:
        """Moves objects out of the emptiest zspages into the fullest, and gives the pages that are free then back: their memory
        to the system, with that of all other free pages of the pool, their place to the pool; how many are free now that were not
        (zs_compact in mm/zsmalloc.c). 0 if another thread or process is at it.

        Ends what has been deferred first; passes by what somebody reads or writes. `max_pages`: stops when at least as many are
        free. Holds a class's lock for 32 objects at a time; other threads run meanwhile, signal handlers between classes. Not for
        signal handlers. Thread-safe, process-safe, not lock-free."""
        return self.compact_pages(~cython.cast(uint64_t, 0) if max_pages is None else to_u64(max_pages), True)

    @cython.cfunc
    @cython.exceptval(0, check=True)
    def compact_pages(self, most: uint64_t, to_system: cython.bint) -> uint64_t:
        """As compact. Whoever needs the pages now does not give their memory to the system."""
        state: Compaction
        pages: uint64_t = 0
        turns: uint64_t
        c: cython.int
        status: cython.int
        self.check_open()
        self.drain_all()
        if not self.begin_compaction():
            return 0
        state.pages = 0
        state.to_system = to_system
        try:
            c = self.g.nr
            while c > 0 and state.pages < most:
                c -= 1
                state.nr_passed = 0
                # Each turn moves something, or passes a zspage by.
                turns = read_once(cython.address(zs_class(self.ref, c).inuse), b"zsclasses.turns") + MAX_PASSED
                while state.pages < most and turns:
                    turns -= 1
                    with cython.nogil:
                        status = compact_turn(self.ref, self.g, c, cython.address(state), _LOCK_NS)
                    self.check_open()
                    if status == NOT_FOUND:
                        break
                    if status != OK and not self.may_call(status):
                        self.fail(status, 0, 0)
            if state.pages < most:
                zs_trim(self.ref, self.g, to_system, cython.address(pages), _LOCK_NS)
                if to_system:
                    with cython.nogil:
                        zs_unback(self.ref)
        finally:
            if not self.mapping.closed and not self.ref.gone:
                compact_unlock(self.ref)
        return state.pages + pages

    def shrink_count(self) -> int:
        """`can_compact`, under the name that a shrinker's hook has (count_objects in include/linux/shrinker.h)."""
        return self.can_compact()

    def shrink_scan(self, nr_pages: object) -> int:
        """Compacts until about `nr_pages` pages are free; how many; 0: there is nothing to be had now (scan_objects, where the
        kernel says SHRINK_STOP)."""
        return self.compact(nr_pages)
