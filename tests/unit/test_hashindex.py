"""The index of a store, by itself: what a lookup finds, what a death leaves, what garbage does."""

import mmap
import os
import random
import re
import signal
import threading
from pathlib import Path

import pytest

import mempools as mp
from mempools.check import steps
from mempools.objects import storescan
from mempools.objects.storeindex import open_index

OLD = b"old" * 400
NEW = b"new!" * 700


def index_in(arena, name="s", limit=0):
    return open_index(arena, arena._mapping, name, limit, True)


@pytest.fixture
def index():
    with mp.Arena("4M") as arena:
        yield index_in(arena)


@pytest.fixture
def shared():
    with mp.Arena.anonymous("1M") as arena:
        yield arena


def values(index):
    found, cursor = {}, 0
    while cursor < index.scan_end:
        cursor, keys = storescan.scan(index, cursor)
        for key in keys:
            assert key not in found
            found[key] = index.get(key)[2]
    return found


def test_put_get_delete(index):
    assert index.get("a") is None
    assert index.put("a", 7, 3000, b"stored") is True
    assert index.get("a") == (7, 3000, b"stored")
    assert index.put("a", 0, 2, b"xy") is True
    assert index.get("a") == (0, 2, b"xy")
    assert index.delete("a") is True
    assert index.delete("a") is False
    assert index.get("a") is None
    assert storescan.check(index) == []


def test_str_and_bytes_keys_differ(index):
    index.put("k", 0, 1, b"s")
    index.put(b"k", 0, 1, b"b")
    assert values(index) == {"k": b"s", b"k": b"b"}
    index.delete("k")
    assert values(index) == {b"k": b"b"}


@pytest.mark.parametrize("key", ["", b"", "x" * 65535, b"\0" * 65535, "é", "a\0b", "😀" * 1000])
def test_keys(index, key):
    index.put(key, 0, 1, b"v")
    assert index.contains(key)
    assert values(index) == {key: b"v"}
    assert index.pop(key) == (0, 1, b"v")
    assert not index.contains(key)


def test_keys_that_differ_in_one_place(index):
    keys = [b"0123456789abcdef"[:n] for n in range(17)] + [bytes(8) * n + b"\1" for n in range(4)]
    keys += [bytes(n) for n in range(30, 40)]
    for key in keys:
        index.put(key, 0, 0, key)
    assert values(index) == {key: key for key in keys}


def test_refuses(index):
    with pytest.raises(ValueError, match="65535 bytes, not 65536"):
        index.put("x" * 65536, 0, 1, b"v")
    assert index.get("x" * 65536) is None
    assert index.delete("x" * 65536) is False
    with pytest.raises(TypeError, match="not int"):
        index.get(1)
    with pytest.raises(UnicodeEncodeError):
        index.put("\udc80", 0, 1, b"v")
    with pytest.raises(ValueError, match="up to 1073741824 bytes"):
        index.put("x", 1, (1 << 30) + 1, b"v")
    assert storescan.sizes(index)[0] == 0


@pytest.mark.parametrize("nbytes", [0, 1, 39, 40, 41, 64, 65535, 65536, 65537, 1 << 20])
def test_sizes(index, nbytes):
    value = random.Random(nbytes).randbytes(nbytes)
    index.put("k", 0, nbytes, value)
    assert index.get("k") == (0, nbytes, value)
    buffer = bytearray(nbytes + 3)
    assert index.get_raw_into("k", buffer) == (0, nbytes, None)
    assert buffer[:nbytes] == value
    assert storescan.check(index) == []


def test_get_raw_into_hands_out_what_does_not_fit_or_is_compressed(index):
    index.put("k", 0, 3, b"abc")
    assert index.get_raw_into("k", bytearray(2)) == (0, 3, b"abc")
    index.put("k", 5, 300, b"abc")
    assert index.get_raw_into("k", bytearray(500)) == (5, 300, b"abc")
    assert index.get_raw_into("none", bytearray(2)) is None
    with pytest.raises(BufferError):
        index.get_raw_into("k", b"read only")


def test_only_if_absent(index):
    assert index.put("k", 0, 1, b"1", True) is True
    before = storescan.sizes(index)
    assert index.put("k", 0, 1, b"2", True) is False
    assert index.get("k")[2] == b"1"
    assert storescan.sizes(index) == before
    assert storescan.check(index) == []


def test_statistics(index):
    index.put("a", 1, 4000, bytes(1000))
    index.put("b", 1, 500, bytes(10))
    assert storescan.sizes(index)[:3] == (2, 4500, 1010)
    index.put("a", 1, 1, b"")
    assert storescan.sizes(index)[:3] == (2, 501, 10)
    index.pop("a")
    index.delete("b")
    assert storescan.sizes(index)[:3] == (0, 0, 0)


def test_long_chains_keep_everything():
    with mp.Arena("4M") as arena:
        index = index_in(arena)
        expected = {f"key {i}": f"value {i}".encode() for i in range(3000)}
        for key, value in expected.items():
            index.put(key, 0, len(value), value)
        for i in range(0, 3000, 3):
            index.delete(f"key {i}")
            del expected[f"key {i}"]
        assert values(index) == expected
        assert storescan.check(index) == []


def test_scan_of_a_bucket_larger_than_the_buffer():
    with mp.Arena("16M") as arena:
        index = index_in(arena)
        keys = {
            f"{i:05}" + "k" * 40000 for i in range(2 * index.nr_buckets + 1)
        }  # one bucket has three of them, or more
        for key in keys:
            index.put(key, 0, 0, b"")
        assert set(values(index)) == keys


def test_exhausted_changes_nothing(index):
    index.put("a", 0, len(OLD), OLD)
    before = storescan.sizes(index)
    with pytest.raises(mp.Exhausted, match="no room for an entry of 5000001 bytes"):
        index.put("a", 0, 5_000_000, bytes(5_000_000))
    assert storescan.sizes(index) == before
    assert index.get("a")[2] == OLD
    assert storescan.check(index) == []


def test_full_and_emptied_again():
    with mp.Arena("1M") as arena:
        index = index_in(arena, limit=256 << 10)
        counts = []
        for _ in range(3):
            nr = 0
            with pytest.raises(mp.Exhausted):
                while True:
                    index.put(str(nr), 0, 1000, bytes(1000))
                    nr += 1
            counts.append(nr)
            for i in range(nr):
                assert index.get(str(i)) == (0, 1000, bytes(1000))
                index.delete(str(i))
            assert storescan.sizes(index)[:3] == (0, 0, 0)
            assert storescan.check(index) == []
        assert counts[0] == counts[1] == counts[2] > 200


def test_random_operations_agree_with_a_dict(index):
    rng = random.Random(7)
    model = {}
    for _ in range(20000):
        key = str(rng.randrange(200))
        what = rng.randrange(4)
        if what < 2:
            value = rng.randbytes(rng.randrange(600))
            index.put(key, 0, len(value), value)
            model[key] = value
        elif what == 2:
            assert index.delete(key) == (model.pop(key, None) is not None)
        else:
            found = index.get(key)
            assert (found and found[2]) == model.get(key)
    assert values(index) == model
    assert storescan.sizes(index)[0] == len(model)
    assert storescan.check(index) == []


def test_names(shared):
    index_in(shared, "one")
    shared.genpool("pool")
    index_in(shared, "two")
    assert storescan.store_names(shared._mapping) == ["one", "two"]


def test_closed_arena():
    arena = mp.Arena("1M")
    index = index_in(arena)
    arena.close()
    for call in (
        lambda: index.get("a"),
        lambda: index.put("a", 0, 0, b""),
        lambda: storescan.scan(index, 0),
        lambda: storescan.sizes(index),
    ):
        with pytest.raises(mp.PoolError, match="closed"):
            call()


# ---- deaths


def dies_at(n, work, **what):
    """Runs work() in a forked child that dies before its n-th step; False when it lived to the end."""
    pid = os.fork()
    if pid == 0:
        try:
            with steps.kill_at(n, **what):
                work()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


OPERATIONS = {
    "insert": (lambda index: index.put("k", 0, len(NEW), NEW), {None, NEW}, None),
    "replace": (lambda index: index.put("k", 0, len(NEW), NEW), {OLD, NEW}, OLD),
    "delete": (lambda index: index.delete("k"), {OLD, None}, OLD),
    "pop": (lambda index: index.pop("k"), {OLD, None}, OLD),
}


# The default run visits some of the steps, the slow one all.
@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", OPERATIONS)
def test_killed_at_every_step(shared, what, stride):
    operation, allowed, before = OPERATIONS[what]
    index = index_in(shared)
    for i in range(20):  # neighbours in the chains, before and after
        index.put(f"n{i}", 0, len(OLD), OLD)
    seen = set()
    n = 1
    while True:
        if before is None:
            index.delete("k")
        else:
            index.put("k", 0, len(before), before)
        for i in range(3):
            index.put(f"later{i}", 0, 3, b"abc")
        died = dies_at(n, lambda: operation(index))
        # A reader is not held up by the death, before anyone has recovered.
        found = index.get("k")
        value = found and found[2]
        assert value in allowed
        seen.add(value)
        shared.recover()
        found = index.get("k")
        assert (found and found[2]) == value  # recovery shows nothing else than what could be seen before
        assert storescan.check(index) == []
        assert storescan.sizes(index)[0] == 23 + (value is not None)
        if not died:
            break
        n += stride
    assert seen == allowed
    assert n > 20


def test_recovery_killed_at_every_window(shared):
    """A death in the middle of mending is mended by the next one."""
    index = index_in(shared)
    windows = 0
    for site in ("D:hashcommit.journal", "D:hashcommit.given", "D:hashcommit.committed", "D:hashcommit.taken"):
        n = 1
        while True:
            index.put("k", 0, len(OLD), OLD)
            assert dies_at(1, lambda: index.put("k", 0, len(NEW), NEW), op="window", site=site)
            died = dies_at(n, shared.recover, op="window")
            shared.recover()
            assert index.get("k")[2] == (OLD if site.endswith(("journal", "given")) else NEW)
            assert storescan.check(index) == []
            if not died:
                break
            n += 1
            windows += 1
    assert windows > 20


SPILLED = b"spilled;" * 25_000  # an entry and three parts


@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", ["put", "delete"])
def test_a_value_in_parts_is_killed_at_every_step(shared, what, stride):
    index = index_in(shared)
    n = 1
    while True:
        index.put("k", 0, len(SPILLED), SPILLED[::-1])
        died = dies_at(n, lambda: index.delete("k") if what == "delete" else index.put("k", 0, len(SPILLED), SPILLED))
        found = index.get("k")
        value = found and found[2]
        assert value in (SPILLED[::-1], None if what == "delete" else SPILLED)
        shared.recover()
        found = index.get("k")
        assert (found and found[2]) == value
        assert storescan.check(index) == []
        index.delete("k")
        assert storescan.check(index) == []
        assert index.stats().objects == 0
        if not died:
            break
        n += stride
    assert n > 50


GROWTH = ("D:hashtable.taken", "D:hashtable.linked", "D:hashsplit.copied", "D:hashsplit.published")


@pytest.mark.parametrize("site", GROWTH)
def test_killed_while_the_index_grows(site):
    """What was in is in, and found before and after recovery; the index goes on growing."""
    with mp.Arena.anonymous("2M") as arena:
        index = index_in(arena)
        for n in (1, 2, 7, 25):

            def fill(n=n):
                for i in range(700):
                    index.put(f"{n}.{i}", 0, 1, b"v")

            dies_at(n, fill, op="window", site=site)
            found = (
                set(values(index)) if "split" in site else None
            )  # a line is taken in a lock that a scan would wait for
            done = 0
            while index.contains(f"{n}.{done}"):
                done += 1
            arena.recover()
            assert storescan.check(index) == []
            assert found is None or found == set(values(index))
            assert {key for key in values(index) if key.startswith(f"{n}.")} == {f"{n}.{i}" for i in range(done)}
        for i in range(700):
            index.put(f"last.{i}", 0, 1, b"v")
        assert storescan.check(index) == []
        assert storescan.sizes(index)[0] == len(values(index))


def test_no_window_is_without_a_test():
    folder = Path(__file__).parents[2] / "src" / "mempools" / "pools"
    labels = set()
    for path in folder.glob("hash*.py"):
        labels |= set(re.findall(r'window\(b"(D:.*)"\)', path.read_text()))
    tested = {f"D:hashcommit.{what}" for what in ("journal", "given", "committed", "taken", "unlocked")}
    of_the_limit = {"D:hashcommit.counted", "D:hashcommit.expiry", "D:hashlimit.counted"}  # in test_hashlimit.py
    assert labels == tested | set(GROWTH) | {"D:hashmend.mended"} | of_the_limit


def test_a_writer_waits_for_the_dead_and_recovers_by_itself(shared):
    index = index_in(shared)
    index.put("k", 0, len(OLD), OLD)
    assert dies_at(1, lambda: index.put("k", 0, len(NEW), NEW), op="window", site="D:hashcommit.committed")
    index.put("k", 0, 1, b"1")
    assert index.get("k")[2] == b"1"
    assert storescan.check(index) == []


def test_a_put_between_any_two_steps_of_a_get(index):
    """The reader returns one of the values that were there, whole; never a mixture."""
    n = 1
    while True:
        index.put("k", 0, len(OLD), OLD)

        def other():
            index.put("k", 0, len(NEW), NEW)
            index.put("reuse", 0, len(OLD), b"x" * len(OLD))  # lands where the old value was
            index.delete("reuse")

        with steps.call_at(n, other) as hook:
            found = index.get("k")
        assert found[2] in (OLD, NEW)
        if not hook.fired:
            break
        n += 1
    assert n > 5


def test_a_get_between_any_two_steps_of_a_put(index):
    n = 1
    seen = []
    while True:
        index.put("k", 0, len(OLD), OLD)
        with steps.call_at(n, lambda: seen.append(index.get("k")[2])) as hook:
            index.put("k", 0, len(NEW), NEW)
        if not hook.fired:
            break
        n += 1
    assert set(seen) == {OLD, NEW}


def test_a_reader_beside_writers_that_never_rest(index):
    index.put("k", 0, len(OLD), OLD)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            index.put("k", 0, len(NEW), NEW)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(300):
            assert index.get("k")[2] in (OLD, NEW)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert storescan.check(index) == []


# ---- garbage in the arena


def test_garbage_crashes_nobody():
    """Random words in the table and in the entries: errors or wrong answers, but the interpreter lives."""
    rng = random.Random(11)
    for _ in range(60):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.alarm(20)
                scribble(rng.getrandbits(64))
                code = 0
            finally:
                os._exit(code)
        rng.getrandbits(64)
        assert os.waitpid(pid, 0)[1] == 0


def scribble(seed):
    rng = random.Random(seed)
    with mp.Arena.anonymous("1M") as arena:
        index = index_in(arena)
        for i in range(100):
            index.put(f"k{i}", 0, 300, bytes(300))
        with mmap.mmap(arena._mapping.fd, arena.nbytes) as memory:
            # The first page is the superblock's; the tables before the pages are other tests' business.
            table = memory.find(b"k7" + bytes(300)) // 4096 * 4096
            for _ in range(200):
                at = rng.randrange(table // 8 - 4096, table // 8 + 4096) * 8 % (arena.nbytes - 8)
                if at < 65536:
                    continue
                word = rng.choice([rng.getrandbits(64), rng.randrange(arena.nbytes), (1 << 64) - 1, 0])
                memory[at : at + 8] = word.to_bytes(8, "little")
            for i in range(100):
                for call in (index.get, index.contains, index.pop):
                    try:
                        call(f"k{i}")
                    except (mp.PoolError, ValueError):
                        pass
            try:
                storescan.check(index)
                values(index)
            except (mp.PoolError, ValueError, TypeError, AssertionError):
                pass
