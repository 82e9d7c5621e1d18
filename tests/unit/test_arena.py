import copy
import os
import pickle
import threading

import pytest

from mempools import arenafile, names
from mempools.arena import Arena
from mempools.errors import Corrupt, Exhausted, LayoutMismatch, PoolError, WouldBlock
from mempools.layout.proctable import LIVE_BASE, SLOTS
from mempools.machine import files, limits

NBYTES = 1 << 20


def test_private():
    with Arena("1M") as arena:
        assert (arena.nbytes, arena.kind, arena.name, arena.path) == (NBYTES, "private", None, None)
        assert repr(arena) == "<mempools.Arena, private, 1 MiB>"
        assert [p.pid for p in arena.processes()] == [os.getpid()]
        assert arena.recover() == 0
        with pytest.raises(TypeError, match=r"Arena\.anonymous"):
            pickle.dumps(arena)
    assert arena.closed and "closed" in repr(arena)
    for use in (arena.recover, arena.processes, lambda: arena._mapping, lambda: pickle.dumps(arena)):
        with pytest.raises(PoolError, match="closed"):
            use()
    arena.close()


def test_sizes_are_rounded_up_to_pages_and_have_a_least():
    with Arena(NBYTES + 1) as arena:
        assert arena.nbytes == NBYTES + 4096
    with pytest.raises(ValueError, match=r"cannot even hold its own tables: .* bytes are the least"):
        Arena(1)
    for bad in ("x", 0, -1, "1e5"):
        with pytest.raises(ValueError, match="size"):
            Arena(bad)
    with pytest.raises(Exhausted, match="no room for an arena of 4611686018427387904 bytes"):
        Arena(1 << 62)
    with pytest.raises(Exhausted, match=r"no room for an arena of .* (available|left)"):
        Arena.anonymous("1T")
    with pytest.raises(Exhausted, match="no room"):
        Arena("1T", prefault=True)


def test_create_attach_unlink():
    with Arena.create("a", "1M") as first:
        assert (first.name, first.kind, first.nbytes) == ("a", "named", NBYTES)
        assert os.stat(first.path).st_mode & 0o777 == 0o600
        assert os.stat(first.path).st_blocks * 512 == NBYTES  # every page is there
        with pytest.raises(FileExistsError, match="attach to it, or unlink"):
            Arena.create("a", "1M")
        with Arena.attach("a") as second:
            assert second.id == first.id and second._mapping is first._mapping
        assert not first.closed and first.recover() == 0
        Arena.unlink("a")
        with pytest.raises(FileNotFoundError, match="no arena 'a'"):
            Arena.attach("a")
        with pytest.raises(FileNotFoundError):
            Arena.unlink("a")
        with Arena.create("a", "1M") as other:
            assert other.id != first.id
            Arena.unlink("a")


def test_open_makes_or_attaches():
    with Arena.open("a", "1M") as first, Arena.open("a", 4096 * 16) as second:
        assert second.id == first.id and second.nbytes == NBYTES
        with pytest.raises(LayoutMismatch, match="of 1048576 bytes, 2097152 are wanted"):
            Arena.open("a", "2M")
        assert not first.closed and first._mapping.opens == 2
        Arena.unlink("a")


def test_threads_open_one_name_at_once():
    barrier = threading.Barrier(8)
    ids, arenas = [], []

    def work():
        barrier.wait()
        arena = Arena.open("a", "1M")
        ids.append(arena.id)
        arenas.append(arena)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8 and len(set(ids)) == 1
    for arena in arenas:
        arena.close()
    Arena.unlink("a")


@pytest.mark.parametrize("hugepages", [False, True])
def test_prefault_and_hugepages(hugepages):
    told = []
    with Arena.create("a", "4M", prefault=True, hugepages=hugepages, progress=lambda *args: told.append(args)) as arena:
        assert told == [(4 << 20, 4 << 20)]
        assert os.stat(arena.path).st_blocks * 512 >= 4 << 20
        Arena.unlink("a")
    with Arena("4M", prefault=True, hugepages=hugepages):
        pass


def test_anonymous_huge_pages_or_a_reason():
    with open("/proc/sys/vm/nr_hugepages", encoding="ascii") as file:
        if int(file.read()) >= 2:
            with Arena.anonymous("4M", hugepages=True, prefault=True) as arena:
                assert arena.nbytes >= 4 << 20
        else:
            with pytest.raises(Exhausted, match="nr_hugepages"):
                Arena.anonymous("4M", hugepages=True)


def test_progress_may_stop_the_making():
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Arena.create("a", "1M", prefault=True, progress=stop)
    assert os.listdir(names.directory()) == []


def test_file(tmp_path):
    path = tmp_path / "arena"
    with pytest.raises(FileNotFoundError):
        Arena.file(path)
    with Arena.file(path, "1M") as first:
        assert (first.kind, first.path, first.name) == ("file", str(path), None)
    with Arena.file(str(path)) as second, Arena.file(path, "1M") as third:
        assert second.id == third.id == first.id
        assert f"{str(path)!r}" in repr(second)
    link = tmp_path / "link"
    link.symlink_to(path)
    with Arena.file(link) as fourth:
        assert fourth.path == str(path)
    path.unlink()


def test_a_copied_file_with_holes_is_filled_before_use(tmp_path):
    path = tmp_path / "arena"
    with Arena.file(path, "1M"):
        data = path.read_bytes()
    sparse = tmp_path / "sparse"
    with open(sparse, "wb") as file:
        file.truncate(NBYTES)
        file.write(data[:65536])
    assert os.stat(sparse).st_blocks * 512 < NBYTES
    with Arena.file(sparse):
        assert os.stat(sparse).st_blocks * 512 >= NBYTES


@pytest.mark.parametrize("kind", ["directory", "fifo", "empty", "text", "device", "truncated"])
def test_foreign_files(kind, tmp_path):
    path = tmp_path / "foreign"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/null")
    elif kind == "truncated":
        with Arena.file(path, "1M"):
            pass
        os.truncate(path, 8192)
    else:
        path.write_bytes(b"" if kind == "empty" else b"something else, of some length" * 100)
    with pytest.raises((LayoutMismatch, Corrupt), match=r"not an arena|so not|truncated"):
        Arena.file(path)


def test_arena_of_a_dead_creator_is_told(tmp_path):
    path = tmp_path / "arena"
    with Arena.file(path, "1M"):
        pass
    with open(path, "r+b") as file:
        file.seek(16 * 8)
        file.write(bytes(8))
    with pytest.raises(Corrupt, match=f"{path}: the arena was never finished"):
        Arena.file(path)


def test_without_unnamed_files(monkeypatch):
    monkeypatch.setattr(files, "unnamed_file", lambda directory: None)
    with Arena.create("a", "1M") as arena:
        assert os.listdir(names.directory()) == [os.path.basename(arena.path)]
        with pytest.raises(FileExistsError):
            Arena.create("a", "1M")
        assert os.listdir(names.directory()) == [os.path.basename(arena.path)]
        Arena.unlink("a")


def test_create_that_loses_the_race(monkeypatch):
    with Arena.create("a", "1M"):
        monkeypatch.setattr(os.path, "lexists", lambda path: False)
        with pytest.raises(FileExistsError, match="an arena of this name exists"):
            Arena.create("a", "1M")
        Arena.unlink("a")


def test_attach_that_meets_a_removal(monkeypatch):
    """The file loses its name between open and lock: the next look finds the new arena of that name."""
    first = Arena.create("a", "1M")
    lock = files.lock
    made = []

    def remove_then_lock(fd, byte, *, shared=False):
        monkeypatch.setattr(files, "lock", lock)
        Arena.unlink("a")
        made.append(Arena.create("a", "1M"))
        lock(fd, byte, shared=shared)

    monkeypatch.setattr(files, "lock", remove_then_lock)
    with Arena.attach("a") as arena:
        assert arena.id == made[0].id != first.id
    made[0].close()
    first.close()
    Arena.unlink("a")


def test_unlink_that_meets_another_file_of_the_name(monkeypatch):
    """The name is given to another file between open and removal: the right one of the two is removed."""
    with Arena.create("a", "1M") as first:
        fd = os.open(first.path, os.O_RDWR)
        os.unlink(first.path)
        with Arena.create("a", "1M"):
            assert not arenafile.remove(first.path, fd)
            assert os.path.exists(first.path)
            Arena.unlink("a")
        os.close(fd)


@pytest.mark.parametrize("copies", [pickle.loads, None])
def test_pickle_in_one_process_is_the_same_arena(copies, tmp_path):
    for arena in (Arena.anonymous("1M"), Arena.create("a", "1M"), Arena.file(tmp_path / "f", "1M")):
        twin = copies(pickle.dumps(arena)) if copies else copy.copy(arena)
        assert twin._mapping is arena._mapping and arena._mapping.opens == 2
        assert (twin.kind, twin.name, twin.path, twin.id) == (arena.kind, arena.name, arena.path, arena.id)
        twin.close()
        arena.close()
    Arena.unlink("a")


def test_pickle_of_what_has_gone():
    arena = Arena.anonymous("1M")
    data = pickle.dumps(arena)
    arena.close()
    with pytest.raises(PoolError, match=r"anonymous arena that process .* sent is not here"):
        pickle.loads(data)
    with Arena.create("a", "1M") as first:
        data = pickle.dumps(first)
        Arena.unlink("a")
        with pickle.loads(data) as twin:
            assert twin.id == first.id
    with Arena.create("a", "1M"), pytest.raises(PoolError, match=r"named arena a .* another arena's"):
        pickle.loads(data)
    Arena.unlink("a")


def test_dropped_without_close():
    arena = Arena.anonymous("1M")
    mapping = arena._mapping
    del arena
    assert not mapping.closed and mapping.opens == 0  # what pools do that outlive the Arena object


def test_shortage_in_the_middle_of_reserving(monkeypatch):
    answers = iter([None, "2 bytes wanted, the machine has 1 available"])
    monkeypatch.setattr(limits, "shortage", lambda nbytes, fd=None: next(answers))
    with pytest.raises(Exhausted, match="the machine has 1 available"):
        Arena.create("a", "100M")
    assert os.listdir(names.directory()) == []


def test_a_full_table_is_an_error_of_attach():
    with Arena.create("a", "1M") as arena:
        path = arena.path
    fd = os.open(path, os.O_RDWR)
    for slot in range(1, SLOTS + 1):
        assert files.try_lock(fd, LIVE_BASE + slot)
    with pytest.raises(Exhausted, match="slots of the process table"):
        Arena.attach("a")
    os.close(fd)
    with Arena.attach("a"):
        pass
    Arena.unlink("a")


def test_only_own_files_are_believed(tmp_path):
    path = names.path_of("a")
    with Arena.file(tmp_path / "elsewhere", "1M"):
        os.symlink(tmp_path / "elsewhere", path)
        with pytest.raises(LayoutMismatch, match="not a regular file"):
            Arena.attach("a")
        os.unlink(path)
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    with Arena.create("a", "1M"):
        os.chown(path, 12345, -1)
        with pytest.raises(PermissionError, match="made by user 12345"):
            Arena.attach("a")
    Arena.unlink("a")


@pytest.mark.parametrize(("nbytes", "nr"), [(4096, 4), (600 << 10, 4), (640 * 480 * 3, 5), (1 << 20, 3)])
def test_the_size_of_a_mempool_counts_elements(nbytes, nr):
    """Also of elements that are no whole number of pages, or of large granules."""
    with Arena("8M") as arena:
        pool = arena.mempool("frames", nbytes=nbytes, min_nr=nr - 1, size=nr * nbytes)
        held = [pool.alloc(wait=False) for _ in range(nr)]
        with pytest.raises(WouldBlock):
            pool.alloc(wait=False)
        del held
