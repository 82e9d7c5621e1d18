"""Shared blocks: tickets, holds, recall, full tables; in one process and through fork."""

import gc
import os
import pickle

import pytest

from mempools import Arena, Exhausted, NotOwned, PoolError, StaleHandle

NR_LANES = 91


@pytest.fixture
def arena():
    with Arena.anonymous("1M") as arena:
        yield arena
        gc.collect()


@pytest.fixture
def pool(arena):
    pool = arena.genpool("pool", granule=64, size=8192, shares=4)
    yield pool
    gc.collect()
    arena.check()


def in_child(work):
    """Runs work() in a forked child; None, or what went wrong."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(receiver)
            work()
        except BaseException as error:
            os.write(sender, repr(error).encode())
        finally:
            os._exit(0)
    os.close(sender)
    with open(receiver, encoding="utf-8") as pipe:
        wrong = pipe.read()
    os.waitpid(pid, 0)
    assert not wrong, wrong


def test_a_ticket_becomes_a_hold(pool):
    block = pool.alloc(100)
    assert (block.is_shared, block.holders) == (False, 1)
    sent = pickle.dumps(block)
    assert (block.is_shared, block.holders) == (True, 2)
    other = pickle.loads(sent)
    assert (other.is_shared, other.holders, block.holders) == (True, 2, 2)
    block.free()
    assert other.holders == 1
    assert pool.avail == pool.size - 128
    other.free()
    assert pool.avail == pool.size


def test_the_ticket_keeps_the_block(pool):
    block = pool.alloc(100)
    with memoryview(block) as view:
        view[:5] = b"still"
    sent = pickle.dumps(block)
    block.free()
    assert pool.avail == pool.size - 128
    other = pickle.loads(sent)
    assert bytes(other)[:5] == b"still"
    assert other.holders == 1
    del other
    assert pool.avail == pool.size


def test_a_second_load_joins_while_the_block_lives(pool):
    block = pool.alloc(100)
    sent = pickle.dumps(block)
    held = [pickle.loads(sent) for _ in range(5)]
    assert block.holders == 6
    block.free()
    assert bytes(held[0]) == bytes(held[4])
    held.clear()
    assert pool.avail == pool.size
    with pytest.raises(StaleHandle):
        pickle.loads(sent)


def test_a_stale_ticket_stays_stale_for_the_records_next_block(pool):
    first = pool.alloc(100)
    sent = pickle.dumps(first)
    pickle.loads(sent).free()
    first.free()
    second = pool.alloc(100)
    newer = pickle.dumps(second)
    with pytest.raises(StaleHandle):
        pickle.loads(sent)
    assert second.holders == 2
    pickle.loads(newer)
    assert second.holders == 1


def test_a_shared_block_is_not_freed_by_offset(pool):
    block = pool.alloc(100)
    sent = pickle.dumps(block)
    with pytest.raises(NotOwned, match="shared"):
        pool.free_offset(block.offset, 100)
    with pytest.raises(NotOwned):
        pool.free_bulk([block.offset], 100)
    pickle.loads(sent)


def test_recall(pool):
    block = pool.alloc(100)
    sent = [pickle.dumps(block) for _ in range(3)]
    other = pool.alloc(64)
    sent.append(pickle.dumps(other))
    assert pool.recall() == 4
    assert pool.recall() == 0
    assert (block.holders, other.holders) == (1, 1)
    joined = pickle.loads(sent[0])  # the ticket is gone, the block is not
    assert block.holders == 2
    joined.free()
    block.free()
    with pytest.raises(StaleHandle):
        pickle.loads(sent[1])
    other.free()
    assert pool.avail == pool.size


def test_recall_frees_what_only_tickets_held(pool):
    sent = pickle.dumps(pool.alloc(100))
    assert pool.avail < pool.size
    assert pool.recall() == 1
    assert pool.avail == pool.size
    with pytest.raises(StaleHandle):
        pickle.loads(sent)


def test_lanes_have_an_end(pool):
    block = pool.alloc(100)
    sent = [pickle.dumps(block) for _ in range(NR_LANES - 1)]
    with pytest.raises(Exhausted):
        pickle.dumps(block)
    assert block.holders == NR_LANES
    held = [pickle.loads(sent[0])]  # in its ticket's own lane
    with pytest.raises(Exhausted):
        pickle.loads(sent[0])  # would join
    held.pop().free()
    held.append(pickle.loads(sent[0]))
    assert pool.recall() == NR_LANES - 2
    assert block.holders == 2


def test_records_have_an_end(pool):
    blocks = [pool.alloc(100) for _ in range(5)]
    for block in blocks[:4]:
        pickle.dumps(block)
    with pytest.raises(Exhausted):
        pickle.dumps(blocks[4])
    assert not blocks[4].is_shared
    pool.recall()
    blocks[0].free()
    pickle.dumps(blocks[4])
    pool.recall()
    with pytest.raises(Exhausted):
        pickle.dumps(pool.alloc(1))


def test_no_records_at_all(arena):
    pool = arena.genpool("without", shares=0)
    block = pool.alloc(100)
    with pytest.raises(Exhausted):
        pickle.dumps(block)
    block.free()
    assert pool.avail == pool.size


def test_stats_name_what_is_shared(pool):
    block = pool.alloc(100)
    assert pool.stats().holders == {os.getpid(): 128}
    pickle.dumps(block)
    assert pool.stats().holders == {"shared": 128}
    pool.recall()


# ---- through fork


def test_a_child_redeems_and_the_parent_goes_on(pool):
    block = pool.alloc(100)
    with memoryview(block) as view:
        view[:6] = b"parent"
    sent = pickle.dumps(block)

    def child():
        other = pickle.loads(sent)
        assert other.holders == 2
        with memoryview(other) as view:
            assert bytes(view[:6]) == b"parent"
            view[:6] = b"child!"
        other.free()

    in_child(child)
    assert bytes(block)[:6] == b"child!"
    assert block.holders == 1
    block.free()
    assert pool.avail == pool.size


def test_a_child_that_dies_with_a_hold(arena, pool):
    block = pool.alloc(100)
    sent = pickle.dumps(block)
    block.free()

    pid = os.fork()
    if pid == 0:
        held = pickle.loads(sent)
        os._exit(0 if held.holders == 1 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert pool.avail == pool.size - 128  # nobody has looked yet
    assert arena.recover() == 1
    assert pool.avail == pool.size
    with pytest.raises(StaleHandle):
        pickle.loads(sent)


def test_a_sender_that_dies_takes_its_ticket_along(arena, pool):
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(sender, pickle.dumps(pool.alloc(100)))
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(sender)
    sent = os.read(receiver, 65536)
    os.close(receiver)
    arena.recover()
    assert pool.avail == pool.size
    with pytest.raises(StaleHandle):
        pickle.loads(sent)


def test_a_block_that_crossed_is_the_receivers(arena, pool):
    """The sender dies after the hand-over: the block stays."""
    receiver, sender = os.pipe()
    go, gone = os.pipe()
    pid = os.fork()
    if pid == 0:
        block = pool.alloc(100)
        with memoryview(block) as view:
            view[:4] = b"gift"
        os.write(sender, pickle.dumps(block))
        os.read(go, 1)
        os._exit(0)
    block = pickle.loads(os.read(receiver, 65536))
    os.write(gone, b"x")
    os.waitpid(pid, 0)
    for fd in (receiver, sender, go, gone):
        os.close(fd)
    arena.recover()
    assert bytes(block)[:4] == b"gift"
    assert block.holders == 1
    assert pool.avail == pool.size - 128
    block.free()
    assert pool.avail == pool.size


def test_a_childs_copy_of_a_block_is_not_its_own(pool):
    block = pool.alloc(100)
    shared = pool.alloc(100)
    pickle.dumps(shared)

    def child():
        pool.alloc(1).free()  # registers
        for one in (block, shared):
            for refused in (one.free, lambda one=one: pickle.dumps(one)):
                try:
                    refused()
                except NotOwned as error:
                    assert "forked from" in str(error)
                else:
                    raise AssertionError("a child could use its parent's block")
        with memoryview(block) as view:  # reading is not owning
            assert len(view) == 100

    in_child(child)
    assert (block.freed, shared.holders) == (False, 2)
    pool.recall()


def test_a_child_that_drops_its_copies_frees_nothing(pool):
    blocks = [pool.alloc(100), pool.alloc(100)]
    pickle.dumps(blocks[1])

    def child():
        blocks.clear()
        gc.collect()
        assert pool.size - pool.avail == 256

    in_child(child)
    assert pool.size - pool.avail == 256
    pool.recall()


def test_a_pool_that_a_child_uses_is_not_destroyed(arena):
    pool = arena.genpool("used", granule=64, size=4096)
    ready, started = os.pipe()
    go, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        pool.alloc(64).free()  # holds nothing at the moment, but works on
        os.write(started, b"x")
        os.read(go, 1)
        try:
            pool.alloc(64).free()
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.read(ready, 1)
    with pytest.raises(PoolError):
        pool.destroy()
    with pytest.raises(PoolError):
        pool.destroy(force=True)
    os.write(done, b"x")
    assert os.waitpid(pid, 0)[1] == 0
    for fd in (ready, started, go, done):
        os.close(fd)
    arena.recover()
    pool.destroy()


def test_a_child_that_comes_too_late_for_a_pool(arena):
    pool = arena.genpool("gone", granule=64, size=4096)
    go, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(go, 1)
        try:
            pool.alloc(64)
        except PoolError as error:
            os._exit(0 if "destroyed" in str(error) else 1)
        os._exit(2)
    pool.destroy()
    arena.genpool("another", granule=64, size=4096)  # takes its pages, and its place in the directory
    os.write(done, b"x")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(go)
    os.close(done)
