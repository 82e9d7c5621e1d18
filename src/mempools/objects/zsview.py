"""L4: ZsView, which keeps one object of a ZsPool where it is."""

import cython

if not cython.compiled:
    raise ImportError("mempools.objects.zsview is compiled code: run `make build` in a checkout, or install the wheel")


from cython.cimports.cpython.buffer import PyBuffer_FillInfo
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.objects.zspoolobject import ZsPool
from cython.cimports.mempools.parts.viewcount import VIEWS_FREED, view_begin, view_end, views_end, views_ended

from mempools.errors import Busy, NotOwned


@cython.cfunc
def view_of(pool: ZsPool, handle: object) -> ZsView:
    """For ZsPool.read."""
    view: ZsView = ZsView.__new__(ZsView)
    pool.pin(handle, cython.address(view.pinned))
    view.pool = pool
    view.registration = pool.ref.arena.slot[1]
    view.exports = 0
    pool.mapping.export_acquire()
    return view


@cython.final
@cython.freelist(8)
@cython.no_gc_clear
@cython.cclass
class ZsView:
    """What `ZsPool.read` gives: keeps one object where it is until it is closed, by `close`, the end of `with`, or being dropped.
    A read-only buffer of the object's bytes. In a forked child it keeps nothing: the parent's pin is the parent's to end.
    Thread-safe."""

    def __cinit__(self):
        self.exports = VIEWS_FREED  # until it has a pin

    def __init__(self):
        raise TypeError("views come from ZsPool.read()")

    @property
    def nbytes(self) -> int:
        """Bytes of the object."""
        return self.pinned.nbytes

    @property
    def closed(self) -> bool:
        return views_ended(cython.address(self.exports))

    def __len__(self):
        return self.pinned.nbytes

    def __getbuffer__(self, view: cython.pointer(Py_buffer), flags: cython.int):
        if self.pool is None:
            self.__init__()
        if not view_begin(cython.address(self.exports)):
            raise NotOwned("a use of a closed view of a ZsPool's object")
        try:
            PyBuffer_FillInfo(view, self, self.pinned.object, self.pinned.nbytes, True, flags)
        except BaseException:
            view_end(cython.address(self.exports))
            raise

    def __releasebuffer__(self, view: cython.pointer(Py_buffer)):
        view_end(cython.address(self.exports))

    def __enter__(self):
        self.memory = memoryview(self)
        return self.memory

    def __exit__(self, kind: object, error: object, traceback: object, /):
        if self.memory is not None:
            self.memory.release()
            self.memory = None
        self.close()

    def close(self) -> None:
        """Let the object go. Busy while buffers of this view exist (numpy arrays, memoryviews); nothing if it is closed."""
        seen: uint64_t = views_end(cython.address(self.exports))
        if seen == VIEWS_FREED:
            return
        if seen:
            raise Busy(f"{seen} buffers of this view exist; release them first")
        self.let_go()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def let_go(self) -> cython.int:
        self.pool.mapping.export_release()
        # Another registration than at birth: a forked child, where the pin is the parent's.
        if self.registration == self.pool.ref.arena.slot[1] and not self.pool.ref.gone:
            self.pool.unpin(cython.address(self.pinned))
        return 0

    def __dealloc__(self):
        if self.pool is not None and self.exports != VIEWS_FREED:
            self.let_go()
