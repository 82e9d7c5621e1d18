"""Arenas and other processes: started in every way, killed at every step, too many, too full, and hostile files."""

import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mempools import names
from mempools.arena import Arena
from mempools.errors import Corrupt, Exhausted, LayoutMismatch, PoolError
from mempools.layout import proctable
from mempools.leftovers import arenas, gc
from mempools.machine import files, limits

METHODS = ["fork", "spawn", "forkserver"]


def start(code: str, *arguments: str, **options) -> subprocess.Popen:
    """An unrelated Python process, warnings as errors."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process: subprocess.Popen, expected: int = 0) -> str:
    out, err = process.communicate("", timeout=60)
    assert process.returncode == expected, err
    assert err == ""
    return out


def look(arena: Arena) -> tuple[str, int, list[int]]:
    with arena:
        return arena.id, os.getpid(), [p.pid for p in arena.processes() if p.alive]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["anonymous", "named", "file"])
def test_an_arena_is_sent_to_processes_of_every_start_method(method, kind, tmp_path):
    arena = {
        "anonymous": lambda: Arena.anonymous("1M"),
        "named": lambda: Arena.create("a", "1M"),
        "file": lambda: Arena.file(tmp_path / "f", "1M"),
    }[kind]()
    with arena:
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
            id, pid, alive = pool.submit(look, arena).result(60)
        assert id == arena.id and pid != os.getpid()
        assert {pid, os.getpid()} <= set(alive)
        arena.recover()
        assert [p.pid for p in arena.processes()] == [os.getpid()]
    if kind == "named":
        Arena.unlink("a")


def test_an_unrelated_process_attaches_and_its_death_is_seen():
    with Arena.create("a", "1M") as arena:
        child = start("""
            import sys
            from mempools.arena import Arena
            arena = Arena.attach("a")
            print(arena.id, flush=True)
            sys.stdin.read()
        """)
        assert child.stdout.readline().strip() == arena.id
        assert sorted(p.pid for p in arena.processes()) == sorted([os.getpid(), child.pid])
        assert arenas()[0].pids == tuple(sorted([os.getpid(), child.pid]))
        assert arena.recover() == 0
        child.kill()
        finish(child, -signal.SIGKILL)
        assert [p.alive for p in arena.processes()] == [True, False]
        assert arena.recover() == 1
    assert gc() == ["a"]


def test_the_last_process_to_die_leaves_an_arena_that_gc_removes():
    finish(
        start("""
        import os, signal
        from mempools.arena import Arena
        arena = Arena.create("a", "1M")
        os.kill(os.getpid(), signal.SIGKILL)
    """),
        -signal.SIGKILL,
    )
    (info,) = arenas()
    assert not info.live and info.pids == ()
    with Arena.attach("a") as arena:  # it is whole: it can also be used again
        assert [p.pid for p in arena.processes()] == [os.getpid()]
        assert gc() == []
    assert gc() == ["a"]


def test_an_exit_without_close_is_silent():
    finish(
        start("""
        import threading
        from mempools.arena import Arena
        kept = [Arena.create("a", "1M"), Arena.anonymous("1M"), Arena("1M")]
        cycle = [Arena.anonymous("1M")]
        cycle.append(cycle)
    """)
    )
    assert gc() == ["a"]


STEPS = [
    "files.unnamed_file",
    "files.lock",
    "files.reserve",
    "mappings.create",
    "processes.identity",
    "files.reopen",
    "files.try_lock",
    "files.unlock",
    "memory.link_descriptor",
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("unnamed", [True, False])
def test_a_creator_killed_at_any_step(step, when, unnamed):
    finish(
        start(
            """
        import os, signal, sys
        from mempools.arena import Arena
        from mempools.layout import mapping as mappings
        from mempools.machine import files, memory, processes
        step, when, unnamed = sys.argv[1:]
        if unnamed == "False":
            files.unnamed_file = lambda directory: None
        module, function = step.split(".")
        original = getattr(globals()[module], function)
        def killing(*args, **kwargs):
            if when == "after":
                original(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)
        setattr(globals()[module], function, killing)
        if unnamed == "False":
            memory.link_descriptor = lambda fd, path: None
            os.link = killing if function == "link_descriptor" else os.link
            original = original if function != "link_descriptor" else lambda *args: None
        Arena.create("a", "1M")
    """,
            step,
            when,
            str(unnamed),
        ),
        -signal.SIGKILL,
    )
    with Arena.open("a", "1M") as arena:
        assert [p.pid for p in arena.processes()] == [os.getpid()]
        assert arenas()[0].broken is None
        gc()  # an unfinished file, if there was one
        assert os.listdir(names.directory()) == [os.path.basename(arena.path)]
    assert gc() == ["a"]


@pytest.mark.parametrize("step", ["files.locked", "files.try_lock", "files.unlock"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_recoverer_killed_at_any_step(step, when):
    with Arena.create("a", "1M") as arena:
        pid = os.fork()
        if pid == 0:
            arena._mapping.ensure_slot()
            os._exit(0)
        os.waitpid(pid, 0)
        recoverer = os.fork()
        if recoverer == 0:
            function = step.split(".")[1]
            original = getattr(files, function)

            def killing(*args, **kwargs):
                if when == "after":
                    original(*args, **kwargs)
                os.kill(os.getpid(), signal.SIGKILL)

            setattr(files, function, killing)
            arena.recover()
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(recoverer, 0)[1]) == -signal.SIGKILL
        arena.recover()
        assert [p.pid for p in arena.processes()] == [os.getpid()]
        Arena.unlink("a")


def test_processes_that_open_one_new_name_at_once():
    code = """
        import sys
        from mempools.arena import Arena
        sys.stdin.readline()
        for round in range(20):
            arena = Arena.open(f"a{round}", "1M")
            print(arena.id)
        sys.stdout.flush()
        sys.stdin.read()
    """
    racers = [start(code) for _ in range(3)]
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    answers = [[racer.stdout.readline() for _ in range(20)] for racer in racers]
    for racer in racers:
        finish(racer)
    assert answers[0] == answers[1] == answers[2]
    assert len(gc()) == 20


def test_gc_and_attach_race_without_loss():
    """While one process removes leftovers, another opens, checks that it is found by its name, and leaves."""
    collector = start("""
        import sys
        from mempools.leftovers import gc
        print("ready", flush=True)
        while True:
            gc()
    """)
    collector.stdout.readline()
    try:
        for _ in range(200):
            with Arena.open("a", "1M") as arena:
                assert os.stat(arena.path).st_ino == os.fstat(arena._mapping.fd).st_ino
                with Arena.attach("a") as again:
                    assert again.id == arena.id
    finally:
        collector.kill()
        collector.communicate()
    gc()


def test_a_forked_child_lets_go_of_its_parents_life():
    """A child that never uses the arena must not keep its dead parent alive."""
    with Arena.create("a", "1M") as arena:
        parent = start("""
            import os, signal, sys
            from mempools.arena import Arena
            arena = Arena.attach("a")
            child = os.fork()
            if child == 0:
                sys.stdin.read()
                os._exit(0)
            print(child, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        """)
        parent.stdout.readline()
        parent.wait(60)
        assert arena.recover() == 1
        parent.communicate()
        Arena.unlink("a")


def test_a_child_forked_behind_pythons_back_stops_no_recovery():
    """No fork hook runs: the child holds the parent's description, and with it the lock."""
    with Arena.create("a", "1M") as arena:
        parent = start("""
            import ctypes, os, signal, sys
            from mempools.arena import Arena
            arena = Arena.attach("a")
            print(arena._mapping.slot, flush=True)
            child = ctypes.CDLL(None).fork()
            if child == 0:
                sys.stdin.read()
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        """)
        slot = int(parent.stdout.readline())
        parent.wait(60)
        assert files.locked(arena._mapping.fd, proctable.LIVE_BASE + slot)
        assert arena.recover() == 1
        parent.communicate()
        Arena.unlink("a")


def test_more_processes_than_slots(monkeypatch):
    """The children of one fork tree fill the table; the next one is told so, and has room when one has died."""
    with Arena.create("a", "1M") as arena:
        read, write = os.pipe()
        gate_read, gate_write = os.pipe()
        children = []
        for _ in range(proctable.SLOTS - 1):
            pid = os.fork()
            if pid == 0:
                os.close(gate_write)
                arena._mapping.ensure_slot()
                os.write(write, b"r")
                os.read(gate_read, 1)
                os._exit(0)
            children.append(pid)
        for _ in children:
            os.read(read, 1)
        late = start("""
            from mempools.arena import Arena
            from mempools.errors import Exhausted
            try:
                Arena.attach("a")
            except Exhausted as error:
                print(error)
        """)
        assert f"by {proctable.SLOTS} live processes" in finish(late)
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children.pop(0), 0)
        assert "named" in finish(start("from mempools.arena import Arena; print(Arena.attach('a'))"))
        os.close(gate_write)
        for pid in children:
            os.waitpid(pid, 0)
        for fd in (read, write, gate_read):
            os.close(fd)
        arena.recover()
        assert [p.pid for p in arena.processes()] == [os.getpid()]
        Arena.unlink("a")


def test_recoverers_share_the_dead_among_them():
    """Several recover at once, while others come and go: each dead process is swept once, none of the living."""
    with Arena.create("a", "1M") as arena:
        recoverers = [
            start("""
                import sys
                from mempools.arena import Arena
                arena = Arena.attach("a")
                print("ready", flush=True)
                sys.stdin.readline()
                print(sum(arena.recover() for _ in range(20)), flush=True)
                sys.stdin.read()
            """)
            for _ in range(3)
        ]
        for recoverer in recoverers:
            assert recoverer.stdout.readline() == "ready\n"
        for _ in range(30):
            pid = os.fork()
            if pid == 0:
                arena._mapping.ensure_slot()
                os._exit(0)
            os.waitpid(pid, 0)
        dead = sum(not p.alive for p in arena.processes())
        for recoverer in recoverers:
            recoverer.stdin.write("\n")
            recoverer.stdin.flush()
        assert dead == 30
        assert sum(int(recoverer.stdout.readline()) for recoverer in recoverers) == dead
        assert sorted(p.pid for p in arena.processes()) == sorted([os.getpid(), *(r.pid for r in recoverers)])
        for recoverer in recoverers:
            finish(recoverer)
        Arena.unlink("a")


@pytest.fixture
def small_group():
    """A control group with a limit of 64 MiB, where this machine lets us make one."""
    for version, top, _ in limits._groups("/"):
        directory = os.path.join(top, f"mempools-test-{os.getpid()}")
        try:
            os.mkdir(directory)
        except OSError:
            continue
        try:
            with open(os.path.join(directory, "memory.max" if version == 2 else "memory.limit_in_bytes"), "w") as file:
                file.write(str(64 << 20))
        except OSError:
            os.rmdir(directory)
            continue
        yield directory
        os.rmdir(directory)
        return
    pytest.skip("no control group can be made here")


def test_a_full_control_group_is_an_exception_and_not_a_kill(small_group):
    out = finish(
        start(
            """
            import os, sys
            with open(os.path.join(sys.argv[1], "cgroup.procs"), "w") as file:
                file.write(str(os.getpid()))
            from mempools.arena import Arena
            from mempools.errors import Exhausted
            named, private = lambda size: Arena.create("a", size), lambda size: Arena(size, prefault=True)
            for make in (Arena.anonymous, named, private):
                try:
                    make("256M")
                except Exhausted as error:
                    print(error)
            print(Arena.anonymous("16M"))
            """,
            small_group,
        )
    )
    assert out.count(f"the control group {small_group} has") == 3 and "16 MiB" in out


def test_a_full_file_system_is_an_exception_with_numbers(small_tmpfs):
    with Arena.create("a", "1M"):
        with pytest.raises(
            Exhausted, match=r"arena of 2097152 bytes \(2 MiB\): 2097152 bytes wanted, the file system has 1048576 free"
        ):
            Arena.create("b", "2M")
        assert os.listdir(small_tmpfs) == [f"mempools.{os.geteuid()}.a"]
        with pytest.raises(Exhausted, match="the file system has"):
            Arena.open("b", "2M", hugepages=True)
        with Arena.create("b", "1M", prefault=True), pytest.raises(Exhausted, match="has 0 free"):
            Arena.create("c", "1M")
        Arena.unlink("b")
        Arena.unlink("a")


def test_a_file_system_that_fills_meanwhile(small_tmpfs, monkeypatch):
    """The check found room, the reservation does not."""
    monkeypatch.setattr(limits, "shortage", lambda nbytes, fd=None: None)
    for options in ({}, {"hugepages": True}):
        with pytest.raises(Exhausted, match="no room for an arena of 4194304 bytes"):
            Arena.create("a", "4M", **options)
    assert os.listdir(small_tmpfs) == []


def test_a_copy_with_holes_on_a_full_file_system(small_tmpfs):
    with Arena.create("a", "1536K") as arena:
        with open(arena.path, "rb") as source, open(names.path_of("b"), "wb") as copy:
            copy.truncate(arena.nbytes)
            copy.write(source.read(65536))
        with pytest.raises(Exhausted, match="the file system has"):
            Arena.attach("b")
        Arena.unlink("b")
        Arena.unlink("a")


def test_the_file_size_limit_is_an_exception():
    out = finish(
        start("""
        import resource
        from mempools.arena import Arena
        from mempools.errors import Exhausted
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        try:
            Arena.create("a", "1M")
        except Exhausted as error:
            print(error)
    """)
    )
    assert "no room for an arena of 1048576 bytes" in out and "File too large" in out


def test_the_address_space_limit_is_an_exception():
    out = finish(
        start("""
        import resource
        from mempools.arena import Arena
        from mempools.errors import Exhausted
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        for make in (Arena, Arena.anonymous):
            try:
                make("1G")
            except Exhausted as error:
                print(error)
    """)
    )
    assert out.count("no room for an arena of 1073741824 bytes") == 2


@pytest.fixture(scope="module")
def image() -> bytes:
    with Arena.anonymous("256K") as arena:
        return os.pread(arena._mapping.fd, arena.nbytes, 0)


changes = st.lists(st.tuples(st.integers(0, 40959), st.integers(0, 255)), max_size=40)


@given(changes=changes, nbytes=st.one_of(st.none(), st.integers(0, 300_000)))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_an_arena_or_an_error(image, changes, nbytes, tmp_path):
    """Truncated, extended and bit-flipped arenas: refused, or usable without a crash."""
    data = bytearray(image)
    for at, value in changes:
        data[at] = value
    path = tmp_path / "fuzzed"
    path.write_bytes(data)
    if nbytes is not None:
        os.truncate(path, nbytes)
    try:
        with Arena.file(path) as arena:
            arena.processes()
            arena.recover()
    except (LayoutMismatch, Corrupt, Exhausted):
        pass


@given(data=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_pickle_fields_are_an_arena_or_an_error(data):
    from mempools.arena import _received

    with pytest.raises(PoolError, match="is not here"):
        _received("anonymous", None, None, data, os.getpid(), len(data))
