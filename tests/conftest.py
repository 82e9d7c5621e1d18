"""Fixtures for every test: arenas of a test run lie in a directory of its own, and no test leaves anything behind."""

import gc
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from mempools import Arena

# A run that fails fails again: the examples are the same each time. (Another choice: --hypothesis-profile=default.)
settings.register_profile("same each time", derandomize=True, database=None)
settings.load_profile("same each time")


@pytest.fixture(scope="module", autouse=True)
def frozen() -> None:
    """What stays from module to module (imports, collected tests, reports) the collection after each test need not look at."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@pytest.fixture
def soak_seconds(request: pytest.FixtureRequest) -> float:
    """How long a test that kills at random goes on: all that were asked for share MEMPOOLS_SOAK_SECONDS."""
    nr = sum(item.get_closest_marker("kill") is not None for item in request.session.items)
    return float(os.environ.get("MEMPOOLS_SOAK_SECONDS", "100")) / nr


@pytest.fixture(scope="session", autouse=True)
def arena_directory() -> Iterator[str]:
    """Two test runs on one machine must not see each other's arenas; child processes inherit the environment."""
    for entry in os.listdir("/dev/shm"):  # of runs that were killed
        _, _, pid = entry.partition("mempools-tests-")
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(f"/dev/shm/{entry}", ignore_errors=True)
    directory = f"/dev/shm/mempools-tests-{os.getpid()}"
    os.mkdir(directory, 0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMPOOLS_DIR", directory)
        yield directory
    shutil.rmtree(directory)


@pytest.fixture
def arena() -> Iterator[Arena]:
    """One that forked children share, and that is whole in the end."""
    with Arena.anonymous("1M") as arena:
        yield arena
        gc.collect()
        arena.check()


@pytest.fixture
def small_tmpfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Arenas lie on a file system of 2 MiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system can only be mounted by root")
    monkeypatch.setenv("MEMPOOLS_DIR", str(tmp_path))
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.fixture(autouse=True)
def nothing_left(arena_directory: str) -> Iterator[None]:
    """Fails a test that leaves a file in shared memory or a child process."""
    children = _children()
    yield
    gc.collect()
    left = sorted(os.listdir(arena_directory))
    for entry in left:
        os.unlink(os.path.join(arena_directory, entry))
    stray = sorted(pid for pid in _children() - children if not _is_helper(pid))
    assert not left, f"left in shared memory: {left}"
    assert not stray, f"child processes left: {stray}"


def _children() -> set[int]:
    found = set()
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children", encoding="ascii") as file:
                found |= {int(pid) for pid in file.read().split()}
        except FileNotFoundError:
            pass  # a thread that ended meanwhile, or a kernel without this file
    return found


def _is_helper(pid: int) -> bool:
    """The fork server and the resource tracker of the standard library live as long as the interpreter."""
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            line = file.read()
    except FileNotFoundError:
        return True
    return "multiprocessing.forkserver" in line or "multiprocessing.resource_tracker" in line
