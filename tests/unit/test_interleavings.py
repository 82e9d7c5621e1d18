"""Another process does one whole operation between any two steps of this one's: the races I14 to I17 of the design.

`Other` is a forked process that does what it is told over a pipe; steps.call_at stops this process at its n-th step and
lets the other work meanwhile."""

import itertools
import os
import pickle

import pytest

from mempools import Arena, Exhausted, NotOwned, StaleHandle
from mempools.check import steps
from mempools.objects.block import _load as load

GRANULE = 64


class Other:
    """A process with a pool of its own to the same arena; do(name, ...) runs a method of Commands there and waits."""

    def __init__(self, arena, **config):
        self.requests, requests = os.pipe()
        replies, self.replies = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(requests)
            os.close(replies)
            try:
                commands = Commands(arena.genpool("pool", **config))
                with open(self.requests, "rb") as source, open(self.replies, "wb") as sink:
                    while True:
                        name, args = pickle.load(source)
                        try:
                            reply = getattr(commands, name)(*args)
                        except Exception as error:
                            reply = error
                        pickle.dump(reply, sink)
                        sink.flush()
            finally:
                os._exit(0)
        os.close(self.requests)
        os.close(self.replies)
        self.sink, self.source = os.fdopen(requests, "wb"), os.fdopen(replies, "rb")

    def do(self, name, *args):
        pickle.dump((name, args), self.sink)
        self.sink.flush()
        reply = pickle.load(self.source)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def end(self):
        self.sink.close()
        self.source.close()
        os.waitpid(self.pid, 0)


class Commands:
    def __init__(self, pool):
        self.pool = pool
        self.held = []

    def alloc(self, nr):
        offset = self.pool.alloc_offset(nr * GRANULE)
        self.held.append((offset, nr))
        return offset

    def fixed(self, nr, address):
        """A block at that address, if it is free."""
        self.pool.set_algo("fixed", address)
        try:
            self.alloc(nr)
        except Exhausted:
            pass
        finally:
            self.pool.set_algo(None)

    def free_all(self):
        """How many granules they were."""
        count = sum(nr for _, nr in self.held)
        for offset, nr in self.held:
            self.pool.free_offset(offset, nr * GRANULE)
        self.held = []
        return count

    def fill(self):
        """All that is left, granule by granule: every word is seen full and marked."""
        try:
            while True:
                self.alloc(1)
        except Exhausted:
            return len(self.held)

    def alloc_and_free(self, nr):
        self.pool.free_offset(self.pool.alloc_offset(nr * GRANULE), nr * GRANULE)

    def free_wrong(self, offset, nr):
        try:
            self.pool.free_offset(offset, nr * GRANULE)
        except NotOwned:
            return True
        return False

    def set_algo(self, algo, data):
        self.pool.set_algo(algo, data)

    def grow(self, nr):
        self.pool.grow(nr * GRANULE)

    def load_and_drop(self, where):
        try:
            block = load(self.pool.arena, "pool", where)
        except StaleHandle:
            return None
        text = bytes(block)
        block.free()
        return text


CONFIG = {"granule": GRANULE, "size": 4096, "shares": 4}


@pytest.fixture
def arena():
    with Arena.anonymous("1M") as arena:
        yield arena


@pytest.fixture
def pool(arena):
    return arena.genpool("pool", **CONFIG)


@pytest.fixture
def other(arena, pool):
    other = Other(arena, **CONFIG)
    yield other
    other.end()


def at_every_step(operation, between):
    """operation() with between() at its n-th step, for every n; yields what operation returned, last of all undisturbed."""
    for n in itertools.count(1):
        with steps.call_at(n, between) as hook:
            result = operation()
        yield result
        if not hook.fired:
            return


def test_claims_that_overlap(arena, pool, other):
    """I14: claims of three words, the other's at every step and with every overlap; nobody shares, nothing is lost."""
    size, visited = pool.size, 0
    for nr in (1, 9, 20):

        def between(nr=nr):
            other.do("alloc", nr)

        for offset in at_every_step(lambda: pool.alloc_offset(20 * GRANULE), between):
            visited += 1
            arena.check()
            pool.free_offset(offset, 20 * GRANULE)
            assert pool.size - pool.avail == other.do("free_all") * GRANULE
            assert pool.avail == size
    assert visited > 20


@pytest.mark.parametrize("at", [0, 7, 8, 15, 16, 19])
def test_a_claim_that_must_roll_back(arena, pool, other, at):
    """I14: the other takes a granule of the very run; what was claimed before it returns, and the search goes on. A word
    that was full for that moment must not stay marked full."""
    base = pool.chunks()[0].address
    visited = 0
    for n in itertools.count(1):
        pool_handle = arena.genpool("pool", **CONFIG)  # its place is the beginning

        def between():
            other.do("fixed", 1, base + at * GRANULE)
            other.do("fill")  # looks at every word while we hold some

        with steps.call_at(n, between) as hook:
            try:
                offset = pool_handle.alloc(20 * GRANULE, algo="first_fit").offset
            except Exhausted:
                offset = None
        if not hook.fired:
            break
        visited += 1
        del offset
        arena.check()
        other.do("free_all")
        assert pool.avail == pool.size
        arena.check()
        for _ in range(2):  # every granule can be had again
            blocks = pool.alloc_bulk(pool.size // GRANULE, GRANULE)
            pool.free_bulk(blocks, GRANULE)
    assert visited > 10


@pytest.mark.parametrize("nr", [1, 20])
def test_frees_beside_the_others_allocations(arena, pool, other, nr):
    """I15: at each step of a free the other allocates: it may find nothing yet, but nothing is lost for good."""
    rest = pool.size // GRANULE - nr
    visited = 0
    for n in itertools.count(1):
        offset = pool.alloc_offset(nr * GRANULE)
        held = pool.alloc_bulk(rest, GRANULE)
        assert pool.avail == 0

        with steps.call_at(n, lambda: other.do("fill")) as hook:
            pool.free_offset(offset, nr * GRANULE)
        other.do("fill")
        assert pool.avail == 0  # the other has all of it now
        arena.check()
        other.do("free_all")
        assert pool.avail == nr * GRANULE
        again = pool.alloc_offset(nr * GRANULE)
        pool.free_offset(again, nr * GRANULE)
        pool.free_bulk(held, GRANULE)
        if not hook.fired:
            break
        visited += 1
    assert visited > 3


def test_bulk_beside_anything(arena, pool, other):
    for command in (("alloc", 1), ("alloc_and_free", 20), ("fill",)):
        before = pool.avail

        def bulk():
            try:
                return pool.alloc_bulk(21, GRANULE)
            except Exhausted:
                return []

        for offsets in at_every_step(bulk, lambda command=command: other.do(*command)):
            assert len(set(offsets)) in (0, 21)
            arena.check()
            pool.free_bulk(offsets, GRANULE)
            other.do("free_all")
            assert pool.avail == before


def test_a_foreign_free_at_every_step(arena, pool, other):
    """The other tries to free what is being claimed and released here: it never can."""
    base = pool.chunks()[0].address
    tried = []

    def between():
        for nr in (1, 8, 20):
            tried.append(other.do("free_wrong", base, nr))

    def pair():
        block = pool.alloc(20 * GRANULE, algo="first_fit")
        block.free()

    for _ in at_every_step(pair, between):
        assert pool.avail == pool.size
    assert len(tried) > 30
    assert all(tried)


def test_algorithm_and_data_change_together(arena, pool, other):
    """I16: an allocation uses the old pair or the new one."""
    base = pool.chunks()[0].address
    allowed = {
        ("first_fit", 1024): lambda o: o % 1024 == 0,
        ("fixed", base + 5 * GRANULE): lambda o: o == base + 5 * GRANULE,
    }
    pairs = list(allowed)
    visited = 0
    for old, new in (pairs, pairs[::-1]):

        def operation(old=old):
            pool.set_algo(*old)
            return pool.alloc_offset(GRANULE)

        for offset in at_every_step(operation, lambda new=new: other.do("set_algo", *new)):
            visited += 1
            assert allowed[old](offset) or allowed[new](offset)
            pool.free_offset(offset, GRANULE)
    assert visited > 6


def test_a_chunk_that_appears(arena):
    """I17: the other adds a chunk at every step of an allocation here: it is seen whole or not at all."""
    config = {"granule": GRANULE, "shares": 0}
    pool = arena.genpool("pool", **config)
    other = Other(arena, **config)
    visited = 0
    try:
        for n in itertools.count(1):
            held = pool.alloc_bulk(pool.avail // GRANULE, GRANULE) if pool.size else []
            with steps.call_at(n, lambda other=other: other.do("grow", 10)) as hook:
                offset = pool.alloc_offset(9 * GRANULE)
            assert pool.has_addr(offset, 9 * GRANULE)
            arena.check()
            pool.free_offset(offset, 9 * GRANULE)
            pool.free_bulk(held, GRANULE)
            assert pool.avail == pool.size
            if not hook.fired:
                break
            visited += 1
            if pool.size > 300_000:  # start again with an empty one
                other.end()
                arena.recover()
                pool.destroy()
                pool = arena.genpool("pool", **config)
                other = Other(arena, **config)
        assert visited > 20
    finally:
        other.end()


def where_of(block):
    """What a pickle of the block says, without the arena and the pool's name."""
    return block.__reduce__()[1][2]


def test_a_handle_that_two_redeem(arena, pool, other):
    """At each step of a load the other loads the same pickle and drops its hold: both had the block, or one was too late.
    (Both have opened the pool before: that takes the directory's lock.)"""
    visited = 0
    first = pool.alloc(1)
    other.do("load_and_drop", where_of(first))
    load(arena, "pool", where_of(first)).free()
    first.free()
    for n in itertools.count(1):
        block = pool.alloc(20 * GRANULE)
        with memoryview(block) as view:
            view[:] = b"b" * len(view)
        where = where_of(block)
        block.free()
        texts = []
        with steps.call_at(n, lambda where=where, texts=texts: texts.append(other.do("load_and_drop", where))) as hook:
            try:
                mine = load(arena, "pool", where)
                assert bytes(mine) == b"b" * (20 * GRANULE)
                mine.free()
                got = True
            except StaleHandle:
                got = False
        assert pool.avail == pool.size
        arena.check()
        if not hook.fired:
            break
        visited += 1
        assert got or texts[0] is not None
        assert texts[0] in (None, b"b" * (20 * GRANULE))
    assert visited > 10
