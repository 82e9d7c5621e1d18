import os

from mempools import names
from mempools.arena import Arena
from mempools.layout.proctable import ATTACH_BYTE
from mempools.leftovers import arenas, gc
from mempools.machine import files


def test_a_live_arena_is_listed_and_never_removed():
    with Arena.create("a", "1M") as arena:
        (info,) = arenas()
        assert (info.name, info.nbytes, info.live, info.persist, info.broken) == ("a", 1 << 20, True, False, None)
        assert info.pids == (os.getpid(),) and info.path == arena.path and info.created is not None
        assert gc() == [] == gc(all=True)
    (info,) = arenas()
    assert not info.live and info.pids == ()
    assert gc() == ["a"] and arenas() == [] == gc()


def test_a_persistent_one_stays():
    Arena.create("a", "1M", persist=True).close()
    (info,) = arenas()
    assert info.persist and not info.live
    assert gc() == [] == gc(all=True)
    Arena.unlink("a")


def test_broken_files_go_only_on_demand_and_when_nobody_holds_them():
    path = names.path_of("a")
    with open(path, "wb") as file:
        file.write(b"something else" * 1000)
    (info,) = arenas()
    assert "not an arena" in info.broken and info.nbytes == 14000 and not info.live and info.created is None
    assert gc() == []
    fd = os.open(path, os.O_RDWR)
    files.lock(fd, ATTACH_BYTE, shared=True)
    assert arenas()[0].live and gc(all=True) == []
    os.close(fd)
    assert gc(all=True) == ["a"]


def test_unfinished_files_go_when_their_maker_has_gone():
    path = names.temporary(names.directory(), "0123")
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    files.lock(fd, ATTACH_BYTE, shared=True)
    assert gc() == [] == arenas()
    os.close(fd)
    assert gc() == [os.path.basename(path)]


def test_what_is_no_file_is_passed_over():
    path = names.path_of("a")
    os.symlink("/etc/passwd", path)
    assert arenas() == [] == gc(all=True)
    os.unlink(path)
    os.mkdir(path)
    assert arenas() == [] == gc(all=True)
    os.rmdir(path)


def test_a_new_arena_of_the_name_is_not_taken_for_the_leftover(monkeypatch):
    """Between the look at a leftover and its removal, somebody removes it and makes another."""
    Arena.create("a", "1M").close()
    made = []
    lock = files.lock

    def meanwhile(fd, byte, *, shared=False):
        monkeypatch.setattr(files, "lock", lock)
        Arena.unlink("a")
        made.append(Arena.create("a", "1M"))
        lock(fd, byte, shared=shared)

    monkeypatch.setattr(files, "lock", meanwhile)
    assert gc() == []
    assert arenas()[0].live
    made[0].close()
    assert gc() == ["a"]
