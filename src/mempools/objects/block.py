"""L4: Block, the owner of one block of a GenPool.

A Block frees its memory when it is dropped, unless a view of it is exported: the view keeps the Block alive. `free` gives
it back earlier and refuses while views exist. The two race in free-threaded programs, so the number of views and the
fact of being freed are one word: a view is counted only if the word is not FREED, FREED is set only if it is 0.

Garbage: a block is found by the cycle collector but not cleared by it: its destructor needs the pool.

Fork: a child inherits the object but not the memory: it is the parent's. The child's destructor does nothing, its
explicit free is refused.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.objects.block is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.cpython.buffer import PyBuffer_FillInfo
from cython.cimports.libc.stdint import uint64_t, uintptr_t
from cython.cimports.mempools.objects.genpoolobject import GenPool
from cython.cimports.mempools.objects.poolobject import PoolObject, tracing
from cython.cimports.mempools.objects.sending import Arrived, Sent, receive, send, unpack
from cython.cimports.mempools.parts.status import DOUBLE_FREE, OK
from cython.cimports.mempools.parts.viewcount import VIEWS_FREED, view_begin, view_end, views_end, views_ended
from cython.cimports.mempools.pools.genpool import genpool_free
from cython.cimports.mempools.pools.shares import (
    Share,
    share_drop,
    share_holders,
)

from mempools.errors import Busy, NotOwned


@cython.cfunc
def empty_block(pool: GenPool, nbytes: uint64_t) -> Block:
    """A Block that owns nothing yet: made before its memory is claimed, so that no claim is lost for want of an object."""
    block: Block = Block.__new__(Block)
    block.pool = pool
    block.nbytes = nbytes
    block.exports = VIEWS_FREED
    return block


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def fill_block(block: Block, address: uint64_t) -> cython.void:
    """The memory at `address` is the block's from now on."""
    block.address = address
    block.registration = block.pool.ref.arena.slot[1]
    block.exports = 0


@cython.final
@cython.no_gc_clear  # a block that an attribute of its arena keeps is a cycle; its pool must be there to the last
@cython.freelist(64)
@cython.cclass
class Block:
    """Memory of `nbytes` bytes from a GenPool: a writable buffer (memoryview(block), numpy.frombuffer(block)).

    Freed when dropped, by `free()`, or at the end of a `with` block. Pickling it hands the memory, not a copy, to the
    process that unpickles it (once per pickle; the sender keeps its own hold until it frees). Thread-safe, process-safe;
    freeing is lock-free and legal in destructors, weakref callbacks, signal handlers and on event loops."""

    def __init__(self):
        raise TypeError("blocks come from GenPool.alloc()")

    @property
    def offset(self) -> int:
        """Bytes from the arena's start; the address for foreign memory."""
        return self.address

    @property
    def freed(self) -> bool:
        return views_ended(cython.address(self.exports))

    @property
    def is_shared(self) -> bool:
        """Whether other processes hold the block, or may: it was pickled, or came by a pickle."""
        return self.shared

    @property
    def holders(self) -> int:
        """Holds and unredeemed pickles of a shared block, this one included; 1 for a block of this process alone."""
        return share_holders(self.pool.ref, cython.address(self.share)) if self.shared else 1

    @property
    def device_address(self) -> int:
        """The second address of the block (gen_pool_virt_to_phys in lib/genalloc.c); LookupError if its chunk has none."""
        return self.pool.device_address(self.address)

    @property
    def owner(self) -> int:
        """The number given when the block's chunk was added (the owner of gen_pool_alloc_owner in lib/genalloc.c)."""
        return self.pool.owner_of(self.address)

    def __len__(self):
        return self.nbytes

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def check_made(self) -> cython.int:
        if self.pool is None:  # by Block.__new__, not by a pool
            self.__init__()
        return 0

    def __repr__(self):
        self.check_made()
        state = "freed" if self.freed else "shared" if self.shared else "own"
        return f"<mempools.Block {self.nbytes} bytes at {self.address:#x} of {self.pool.name!r}, {state}>"

    # ---- the end

    @cython.cfunc
    @cython.exceptval(check=False)
    def let_go(self) -> uint64_t:
        """The memory is the caller's from now on; nobody else knows the block."""
        self.exports = VIEWS_FREED
        return self.address

    @cython.cfunc
    @cython.exceptval(-100, check=False)
    def give_back(self) -> cython.int:
        """Frees or drops; OK, or why not. Calls Python only for an element whose Mempool must be mended first."""
        if self.shared:
            return share_drop(self.pool.ref, cython.address(self.share), False)
        if self.keeper is not None and self.keeper.keep_element(self.pool.ref, self.address) == OK:
            return OK
        return genpool_free(self.pool.ref, self.address, self.nbytes)

    def __dealloc__(self):
        # Plain: nobody else has the object any more. Another registration than at birth: a forked child, see above.
        if self.pool is not None and self.exports != VIEWS_FREED and self.registration == self.pool.ref.arena.slot[1]:
            self.give_back()
            if tracing:
                self.pool.note_free(self.address)

    def free(self) -> None:
        """Give the memory back now (gen_pool_free in lib/genalloc.c); for a shared block, drop this process's hold.

        Busy while views exist, NotOwned if it is freed already or belongs to the process that this one was forked from:
        nothing is changed then. Legal in every context but C signal handlers. Thread-safe, process-safe, lock-free."""
        self.check_made()
        seen: uint64_t = views_end(cython.address(self.exports))
        status: cython.int
        if seen == VIEWS_FREED:
            self.pool.fail(DOUBLE_FREE, self.address, self.nbytes)
        if seen != 0:
            raise Busy(f"{self!r}: {seen} views of it exist (memoryviews, arrays); release them first")
        if self.registration != self.pool.ref.arena.slot[1]:
            self.exports = 0
            raise NotOwned(f"{self!r} belongs to the process that this one was forked from: only that one can free it")
        status = self.give_back()
        if status != OK:
            self.pool.fail(status, self.address, self.nbytes)
        if tracing:
            self.pool.note_free(self.address)

    def __enter__(self):
        if self.keeper is not None:
            self.keeper.entered(self)
        return self

    def __exit__(self, *exc):
        if self.keeper is not None:
            self.keeper.left(self)
        if not self.freed:
            self.free()

    # ---- views

    def __getbuffer__(self, view: cython.pointer(Py_buffer), flags: cython.int):
        self.check_made()
        where: uintptr_t = self.pool.memory_at(self.address, self.nbytes)  # raises for a bare address range
        if not view_begin(cython.address(self.exports)):
            raise NotOwned(f"{self!r}: a view of a freed block")
        self.pool.mapping.export_acquire()
        PyBuffer_FillInfo(view, self, cython.cast(cython.p_void, where), self.nbytes, False, flags)

    def __releasebuffer__(self, view: cython.pointer(Py_buffer)):
        view_end(cython.address(self.exports))
        self.pool.mapping.export_release()

    # ---- sending

    def __reduce__(self):
        self.check_made()
        sent: Sent = [
            self.address,
            self.nbytes,
            self.registration,
            cython.address(self.exports),
            cython.address(self.shared),
            cython.address(self.share),
        ]
        keeper: uint64_t = 0 if self.keeper is None else self.keeper.ref.index
        where = send(self, "block", self.pool, cython.address(sent), keeper)
        name = self.pool.name if self.keeper is None else (self.keeper.name,)
        return _load, (self.pool.arena._description(), name, where)

    def __copy__(self):
        raise TypeError("a block has one owner: copy its bytes, or pickle it to share it")

    def __deepcopy__(self, memo):
        raise TypeError("a block has one owner: copy its bytes, or pickle it to share it")


_find_arena = None


def find_arenas_with(finder):
    """At import, by the layer that knows arenas: how an arriving block finds its own from what `_description` said."""
    global _find_arena
    _find_arena = finder


def _load(arena, name, where):
    """The other end of Block's pickle: redeems the ticket. `arena`: itself, or its description."""
    if type(arena) is tuple:
        arena = _find_arena(arena)
    arrived: Arrived
    held: Share
    unpack(where, cython.address(arrived))
    keeper: PoolObject = None
    if type(name) is tuple:  # an element of a Mempool
        keeper = arena._known_mempool(name[0])
        pool: GenPool = keeper.blocks_of()
    else:
        pool = arena._known_genpool(name)
    block: Block = empty_block(pool, arrived.nbytes)
    block.keeper = keeper
    receive(pool, cython.address(arrived), cython.address(held))
    block.shared = True
    block.share = held
    fill_block(block, arrived.address)
    return block
