import os

import pytest

from mempools.machine import files, limits


def write(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


V2_MOUNT = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1_MOUNT = "31 24 0:27 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def group_v2(root, where, limit, usage, inactive=0):
    write(root, f"sys/fs/cgroup/{where}/memory.max", f"{limit}\n")
    write(root, f"sys/fs/cgroup/{where}/memory.current", f"{usage}\n")
    write(root, f"sys/fs/cgroup/{where}/memory.stat", f"anon 5\ninactive_file {inactive}\n")


def test_group_free_v2_takes_the_tightest_of_the_hierarchy(tmp_path):
    write(tmp_path, "proc/self/mountinfo", V2_MOUNT)
    write(tmp_path, "proc/self/cgroup", "0::/user/job\n")
    group_v2(tmp_path, "user/job", "max", 10)
    group_v2(tmp_path, "user", 1000, 700, 100)
    assert limits.group_free(str(tmp_path)) == (400, str(tmp_path / "sys/fs/cgroup/user"))
    group_v2(tmp_path, "user/job", 300, 250)
    assert limits.group_free(str(tmp_path)) == (50, str(tmp_path / "sys/fs/cgroup/user/job"))
    group_v2(tmp_path, "user/job", 300, 350)
    assert limits.group_free(str(tmp_path)) == (0, str(tmp_path / "sys/fs/cgroup/user/job"))


def test_group_free_v1_inside_a_container(tmp_path):
    write(tmp_path, "proc/self/mountinfo", V1_MOUNT)
    write(tmp_path, "proc/self/cgroup", "4:memory:/docker/abc\n0::/\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "5000\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.usage_in_bytes", "4000\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.stat", "total_inactive_file 500\n")
    assert limits.group_free(str(tmp_path)) == (1500, str(tmp_path / "sys/fs/cgroup/memory"))
    write(tmp_path, "proc/self/cgroup", "4:memory:/elsewhere\n")  # what is mounted shows another part of the tree
    assert limits.group_free(str(tmp_path)) == (1500, str(tmp_path / "sys/fs/cgroup/memory"))
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert limits.group_free(str(tmp_path)) is None


def test_nothing_known_is_no_limit(tmp_path):
    assert limits.group_free(str(tmp_path)) is None
    assert limits.machine_free(str(tmp_path)) is None


def test_machine_free(tmp_path):
    write(tmp_path, "proc/meminfo", "MemTotal: 9 kB\nMemAvailable:   100 kB\nSwapFree:  20 kB\n")
    assert limits.machine_free(str(tmp_path)) == 120 * 1024


def test_of_this_machine():
    assert limits.machine_free() > 0
    assert limits.shortage(4096) is None
    group = limits.group_free()
    assert group is None or group[0] >= 0


@pytest.mark.parametrize(
    "free, machine, group, expected",
    [
        (10**6, 10**9, None, None),
        (999, 10**9, None, "1000 bytes wanted, the file system has 999 free"),
        (None, 1000, None, "1003 bytes wanted (page tables included), the machine has 1000 available"),
        (None, 10**9, (900, "/g"), "1003 bytes wanted (page tables included), the control group /g has 900 left"),
    ],
)
def test_shortage_names_what_is_short(monkeypatch, free, machine, group, expected):
    monkeypatch.setattr(limits, "file_system_free", lambda fd: free)
    monkeypatch.setattr(limits, "machine_free", lambda: machine)
    monkeypatch.setattr(limits, "group_free", lambda: group)
    fd = files.memory_file("test")
    try:
        assert limits.shortage(1000, fd) == expected
    finally:
        os.close(fd)


def test_a_disk_file_is_not_memory(monkeypatch):
    monkeypatch.setattr(limits, "in_memory", lambda fd: False)
    monkeypatch.setattr(limits, "machine_free", lambda: 0)
    monkeypatch.setattr(limits, "file_system_free", lambda fd: 5000)
    assert limits.shortage(1000, 0) is None


def test_a_memfd_has_no_limit_of_its_own():
    fd = files.memory_file("test")
    try:
        assert limits.file_system_free(fd) is None
        assert "the machine has" in limits.shortage(1 << 60, fd)
    finally:
        os.close(fd)
