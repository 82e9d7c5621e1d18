"""L4: the pages of a Zram as Python calls them: by index, each compressed by the caller (zram.py), or of one word.

What runs beside what is in pools/zramtable.py and pools/zramslot.py. Nothing is compressed, read or written here while a page is
locked. What `get` gives says what the page is made of:

  kind                payload                            word
  0 .. 3              bytes, by the codec of that        the page as it is now: for `put` and the others, which can be told
                      priority                           to do nothing if it is another by then
  HUGE                the page
  SAME, NEVER         the word that it repeats
  WRITTEN_BACK        ZRAM_SIZE | priority << 16 | huge << 18: how to read the block
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.zramobject is compiled code: run `make build` in a checkout, or install the wheel"
    )

import os
import weakref

from cython.cimports.cpython.buffer import PyBUF_CONTIG_RO, PyBuffer_Release, PyObject_GetBuffer
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memcmp, memcpy
from cython.cimports.mempools.layout.structs import NR_SLOTS
from cython.cimports.mempools.machine.atomics import (
    copy,
    fetch_add_relaxed,
    monotonic,
    read_once,
    read_once32,
    this_module_step,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.poolobject import PoolObject
from cython.cimports.mempools.objects.words import to_u64
from cython.cimports.mempools.objects.zsclasses import ZsClasses
from cython.cimports.mempools.parts.robustlock import robust_holder
from cython.cimports.mempools.parts.status import (
    EXHAUSTED,
    INTERRUPTED,
    NOT_A_BLOCK,
    OK,
    STALE,
    TIMED_OUT,
)
from cython.cimports.mempools.pools.zramcheck import zram_objects
from cython.cimports.mempools.pools.zrammend import zram_forked
from cython.cimports.mempools.pools.zramslot import (
    OVER_LIMIT,
    Expected,
    change_finish,
    is_expected,
    page_change,
    zram_alloc,
    zram_look,
)
from cython.cimports.mempools.pools.zramtable import (
    NR_CODECS,
    PATH_BYTES,
    PRIORITY_SHIFT,
    RECORD_BYTES,
    ZRAM_HUGE,
    ZRAM_IDLE,
    ZRAM_SAME,
    ZRAM_SIZE,
    ZRAM_WB,
    Held,
    ZramRef,
    lock_makes_sense,
    page_lock,
    page_trylock,
    page_unlock,
)
from cython.cimports.mempools.pools.zsalloc import zs_free
from cython.cimports.mempools.pools.zscompact import zs_trim
from cython.cimports.mempools.pools.zspin import Pinned, zs_pin, zs_unpin
from cython.cimports.mempools.pools.zstable import ZS_SHIFT

from mempools.errors import Busy, Corrupt, Exhausted

register_module(cython.address(this_module_step))

PAGE = RECORD_BYTES
HUGE = 4
SAME = 5
NEVER = 6
WRITTEN_BACK = 7

_LOCK_NS = cython.declare(uint64_t, 100_000_000)  # of waiting for a lock, before a look whether its holder lives
_pools = weakref.WeakSet()


@cython.cfunc
@cython.exceptval(check=False)
def now() -> uint32_t:
    return cython.cast(uint32_t, cython.cast(uint64_t, monotonic()))


@cython.cfunc
@cython.exceptval(check=False)
def expect(expected: cython.pointer(Expected), kind: cython.int, word: uint64_t, chosen: cython.bint) -> cython.void:
    expected.any = kind < 0
    expected.chosen = chosen
    expected.word = word
    expected.kind = 0
    if kind == SAME:
        expected.kind = ZRAM_SAME
    elif kind == WRITTEN_BACK:
        expected.kind = ZRAM_WB


@cython.final
@cython.no_gc_clear
@cython.cclass
class ZramPages(ZsClasses):
    """The pages of one Zram. Made by `open_zram`."""

    def __init__(self):
        raise TypeError("ZramPages are made by Arena.zram()")

    # ---- statuses

    @cython.cfunc
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def index_of(self, index: object) -> uint64_t:
        i: uint64_t = to_u64(index)
        if self.mapping.closed or self.ref.gone:
            self.check_open()
        if i >= self.z.nr_pages:
            raise IndexError(f"zram {self.name!r} has the pages 0 to {self.z.nr_pages - 1}, not {i}")
        return i

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def may_look(self, status: cython.int, index: uint64_t) -> cython.bint:
        """After a page was not locked: is there a point in another try?"""
        if status == TIMED_OUT and not lock_makes_sense(cython.address(self.z), index):
            raise Corrupt(f"zram {self.name!r}: nobody can have locked page {index} as its flags say")
        if not self.may_retry(status):
            self.fail(status, index, 0)
        if self.mapping.closed or self.ref.gone:
            self.check_open()
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def lock(self, index: uint64_t, held: cython.pointer(Held)) -> cython.int:
        status: cython.int
        while True:
            status = page_lock(cython.address(self.z), index, held, _LOCK_NS)
            if status == OK:
                return 0
            self.may_look(status, index)

    # ---- objects of this process

    @cython.cfunc
    @cython.exceptval(0, check=True)
    def new_object(self, nbytes: uint64_t) -> uint64_t:
        handle: uint64_t = 0
        pages: uint64_t = 0
        trimmed: cython.bint = False
        status: cython.int
        while True:
            status = zram_alloc(cython.address(self.z), nbytes, cython.address(handle), _LOCK_NS)
            if status == OK:
                return handle
            if status == OVER_LIMIT:
                if handle:
                    self.drop_object(handle)
                # An empty zspage of each class is no page's, and counts.
                zs_trim(self.ref, self.g, False, cython.address(pages), _LOCK_NS)
                if pages and not trimmed:
                    trimmed = True
                    continue
                limit = read_once(cython.address(self.z.root.limit_pages), b"zramobject.limit") << ZS_SHIFT
                raise Exhausted(
                    f"zram {self.name!r}: {nbytes} bytes more would go beyond its memory limit of {limit} bytes: "
                    "discard pages, write some back, or raise mem_limit"
                )
            if status == TIMED_OUT and robust_holder(cython.address(self.z.root.growing)) > NR_SLOTS:
                raise Corrupt(f"zram {self.name!r}: nobody can have the lock of its growth as its word says")
            if not self.may_call(status):
                break
        if status == EXHAUSTED:
            raise Exhausted(
                f"zram {self.name!r}: no pages for {nbytes} bytes; compact() could free {self.can_compact()} pages, the arena "
                f"has {self.free_pages()}: discard something, or make the arena larger"
            )
        self.fail(status, 0, nbytes)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def drop_object(self, handle: uint64_t) -> cython.int:
        """Ends an object that no page has; nothing if another has done so, or will."""
        status: cython.int
        while True:
            status = zs_free(self.ref, self.g, handle, _LOCK_NS)
            if status != TIMED_OUT and status != INTERRUPTED:
                return 0
            self.mapping.recover()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def unpin(self, pinned: cython.pointer(Pinned)) -> cython.int:
        if zs_unpin(self.ref, pinned):  # the page has another content by now, and this was the last reader
            self.drop_object(pinned.handle)
        return 0

    # ---- changes

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def finish(self, held: cython.pointer(Held)) -> cython.int:
        """The page is as it is to be, and unlocked: whatever it takes to end what it had."""
        while change_finish(cython.address(self.z), held, _LOCK_NS) != OK:
            self.mapping.recover()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def change(
        self,
        index: uint64_t,
        word: uint64_t,
        flags: uint32_t,
        fresh: cython.pointer(uint64_t),
        block: uint64_t,
        expected: cython.pointer(Expected),
    ) -> cython.bint:
        """False: the page is not what was expected. fresh[0], a handle or 0, is 0 as soon as it is the page's."""
        held: Held
        handle: uint64_t = fresh[0]
        self.lock(index, cython.address(held))
        if not is_expected(cython.address(held), expected):
            page_unlock(cython.address(self.z), cython.address(held), held.flags)
            return False
        if expected.chosen:  # no access: it stays idle, and as old as it is
            flags |= held.flags & cython.cast(uint32_t, ZRAM_IDLE)
        fresh[0] = 0
        page_change(
            cython.address(self.z),
            cython.address(held),
            word,
            flags,
            read_once32(cython.address(self.z.pages[index].time), b"zramobject.time") if expected.chosen else now(),
            handle,
            block,
        )
        self.finish(cython.address(held))
        return True

    def put(
        self,
        index: object,
        what: cython.int,
        data: object,
        kind: cython.int = -1,
        word: object = 0,
        chosen: cython.bint = False,
    ) -> bool:
        """The page has this content from now on: `data` as the codec of priority `what` made it, or the page itself for HUGE.
        With `kind`, and `word`, as of `get`: only if the page is still that; `chosen`: and post-processing chose it. False: it
        is not. Exhausted changes nothing."""
        view: Py_buffer
        pinned: Pinned
        expected: Expected
        i: uint64_t = self.index_of(index)
        handle: uint64_t = 0
        flags: uint32_t
        done: cython.bint = False
        expect(cython.address(expected), kind, to_u64(word), chosen)
        PyObject_GetBuffer(data, cython.address(view), PyBUF_CONTIG_RO)
        try:
            if not 0 < view.len <= PAGE or not 0 <= what <= HUGE or (what == HUGE and view.len != PAGE):
                raise ValueError(f"{view.len} bytes are not what a page of {PAGE} can be stored as (priority {what})")
            flags = cython.cast(uint32_t, view.len)
            flags |= ZRAM_HUGE if what == HUGE else cython.cast(uint32_t, what) << PRIORITY_SHIFT
            handle = self.new_object(view.len)
            status: cython.int = zs_pin(self.ref, self.g, handle, cython.address(pinned))
            if status != OK:
                self.fail_handle(status, handle)
            copy(pinned.object, view.buf, view.len, b"zramobject.put")
            self.unpin(cython.address(pinned))
            done = self.change(i, handle, flags, cython.address(handle), 0, cython.address(expected))
        finally:
            PyBuffer_Release(cython.address(view))
            if handle:
                self.drop_object(handle)
        if done and what == HUGE:
            fetch_add_relaxed(cython.address(self.z.root.stats.huge_pages_since), 1, b"zramobject.count")
        return done

    def put_same(self, index: object, data: object, kind: cython.int = -1, word: object = 0) -> object:
        """If the page `data` repeats one word of 8 bytes: the page is that from now on, True, or False as of `put`; else None.
        Takes no memory."""
        view: Py_buffer
        expected: Expected
        i: uint64_t = self.index_of(index)
        fill: uint64_t = 0
        none: uint64_t = 0
        same: cython.bint
        expect(cython.address(expected), kind, to_u64(word), False)
        PyObject_GetBuffer(data, cython.address(view), PyBUF_CONTIG_RO)
        size: cython.Py_ssize_t = view.len
        same = size == PAGE and memcmp(view.buf, cython.cast(cython.p_char, view.buf) + 8, PAGE - 8) == 0
        if same:
            memcpy(cython.address(fill), view.buf, 8)
        PyBuffer_Release(cython.address(view))
        if size != PAGE:
            raise ValueError(f"a page has {PAGE} bytes, not {size}")
        if not same:
            return None
        return self.change(i, fill, ZRAM_SAME, cython.address(none), 0, cython.address(expected))

    def discard(self, index: object) -> None:
        """The page is as if it had never been written."""
        expected: Expected
        none: uint64_t = 0
        expect(cython.address(expected), -1, 0, False)
        self.change(self.index_of(index), 0, 0, cython.address(none), 0, cython.address(expected))
        fetch_add_relaxed(cython.address(self.z.root.stats.notify_free), 1, b"zramobject.count")

    def trydiscard(self, index: object) -> bool:
        """The same if nobody has the page at the moment, else False."""
        held: Held
        i: uint64_t = self.index_of(index)
        status: cython.int = page_trylock(cython.address(self.z), i, cython.address(held))
        if status != OK:
            fetch_add_relaxed(cython.address(self.z.root.stats.miss_free), 1, b"zramobject.count")
            return False
        page_change(cython.address(self.z), cython.address(held), 0, 0, now(), 0, 0)
        self.finish(cython.address(held))
        fetch_add_relaxed(cython.address(self.z.root.stats.notify_free), 1, b"zramobject.count")
        return True

    # ---- looking

    @cython.cfunc
    def get_object(self, word: uint64_t, flags: uint32_t) -> object:
        """A copy of the object that a page had; None: it has ended meanwhile."""
        pinned: Pinned
        status: cython.int = zs_pin(self.ref, self.g, word, cython.address(pinned))
        if status == STALE or status == NOT_A_BLOCK:
            return None
        if status != OK:
            if self.may_retry(status):
                return None
            self.fail_handle(status, word)
        try:
            if pinned.nbytes != (flags & cython.cast(uint32_t, ZRAM_SIZE)) or (
                flags & cython.cast(uint32_t, ZRAM_HUGE) and pinned.nbytes != PAGE
            ):
                raise Corrupt(
                    f"zram {self.name!r}: the object of a page has {pinned.nbytes} bytes, the page says "
                    f"{flags & cython.cast(uint32_t, ZRAM_SIZE)}"
                )
            found: bytes = PyBytes_FromStringAndSize(cython.NULL, pinned.nbytes)
            copy(PyBytes_AS_STRING(found), pinned.object, pinned.nbytes, b"zramobject.get")
        finally:
            self.unpin(cython.address(pinned))
        return found

    def get(self, index: object, touch: cython.bint = True) -> tuple:
        """(kind, payload, word), see above. `touch`: it is an access: the page is not idle any more."""
        held: Held
        i: uint64_t = self.index_of(index)
        seen: uint64_t = 0
        status: cython.int
        while True:
            status = zram_look(cython.address(self.z), i, now(), touch, cython.address(held), _LOCK_NS)
            if status != OK:
                self.may_look(status, i)
                continue
            if held.flags & cython.cast(uint32_t, ZRAM_WB):
                return (
                    WRITTEN_BACK,
                    held.flags & cython.cast(uint32_t, ZRAM_SIZE)
                    | (held.flags >> PRIORITY_SHIFT & 3) << 16
                    | ((held.flags & cython.cast(uint32_t, ZRAM_HUGE)) != 0) << 18,
                    held.word,
                )
            if held.flags & cython.cast(uint32_t, ZRAM_SAME):
                return (SAME, held.word, held.word)
            if held.word == 0:
                return (NEVER, 0, 0)
            data = self.get_object(held.word, held.flags)
            if data is not None:
                kind: cython.int = held.flags >> PRIORITY_SHIFT & 3
                return (HUGE if held.flags & cython.cast(uint32_t, ZRAM_HUGE) else kind, data, held.word)
            # Who has changed the page has the next look see that: a page cannot name an object that has ended.
            if held.word == seen:
                raise Corrupt(f"zram {self.name!r}: page {i} names an object that is not there")
            seen = held.word

    @property
    def nr_pages(self) -> int:
        return self.z.nr_pages

    @property
    def nr_blocks(self) -> int:
        """Of the backing file."""
        return self.z.nr_blocks

    def config(self) -> dict:
        """What is constant, as it was made."""
        self.check_open()
        found: dict = config_of(cython.address(self.z))
        found["chain"] = self.g.chain
        found["limit"] = self.ref.limit
        return found

    def destroy(self, force: cython.bint = False) -> None:
        """Frees everything and the device itself. Busy while another process has it open, or, unless `force`, while pages are
        stored in memory."""
        self.check_open()
        if not force and zram_objects(cython.address(self.z)):
            raise Busy(f"zram {self.name!r} has pages: discard them, or destroy it with force=True")
        PoolObject.destroy(self, True)


@cython.cfunc
def config_of(z: cython.pointer(ZramRef)) -> dict:
    i: uint64_t
    path: bytes = z.root.path[:PATH_BYTES]
    return {
        "nr_pages": z.nr_pages,
        "nr_blocks": z.nr_blocks,
        "options": read_once(cython.address(z.root.options), b"zramobject.config"),
        "codecs": tuple([read_once(cython.address(z.root.codecs[i]), b"zramobject.config") for i in range(NR_CODECS)]),
        "file": (
            read_once(cython.address(z.root.file_device), b"zramobject.config"),
            read_once(cython.address(z.root.file_inode), b"zramobject.config"),
        ),
        "path": path.rstrip(b"\0"),
    }


def _forked() -> None:
    for pages in list(_pools):
        forked(pages)


@cython.cfunc
@cython.exceptval(-1, check=False)
def forked(pages: ZramPages) -> cython.int:
    if pages.private and not pages.ref.gone and not pages.mapping.closed:
        zram_forked(pages.ref)
    return 0


os.register_at_fork(after_in_child=_forked)


def register(pages: ZramPages) -> None:
    """For objects/zramopen.py: a private device that is open, to be mended in a forked child."""
    _pools.add(pages)
