"""L0: how much memory may still be taken: file system, machine, control groups.

Asked before pages are reserved: pages of tmpfs and memfd are charged to the control group of whoever touches them
first, and a reservation past its limit is answered by the kernel's out-of-memory killer, not by an error.
"""

import os
from collections.abc import Iterator

from mempools.machine.memory import in_memory

_UNLIMITED = 1 << 62  # version 1 writes "no limit" as a number near 2**63


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def _field(text: str | None, key: str) -> int:
    for line in (text or "").splitlines():
        name, _, value = line.partition(" ")
        if name.rstrip(":") == key:
            return int(value.split()[0])
    return 0


def file_system_free(fd: int) -> int | None:
    """Free bytes of the file system behind the descriptor; None where it has no limit of its own (memfd)."""
    info = os.fstatvfs(fd)
    return info.f_bavail * info.f_frsize if info.f_blocks else None


def machine_free(root: str = "/") -> int | None:
    """Bytes the machine can give without killing anyone (available memory and free swap); None if unknown."""
    text = _read(os.path.join(root, "proc/meminfo"))
    available = _field(text, "MemAvailable")
    return (available + _field(text, "SwapFree")) * 1024 if available else None


def _groups(root: str) -> Iterator[tuple[int, str, str]]:
    """(version, mount point, directory) of the memory control groups of this process."""
    mounts = []
    for line in (_read(os.path.join(root, "proc/self/mountinfo")) or "").splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "memory" in options.split(",")):
            fields = left.split()
            mounts.append((2 if kind == "cgroup2" else 1, fields[3], os.path.join(root, fields[4].lstrip("/"))))
    for line in (_read(os.path.join(root, "proc/self/cgroup")) or "").splitlines():
        number, controllers, path = line.split(":", 2)
        version = 2 if number == "0" and not controllers else 1 if "memory" in controllers.split(",") else 0
        for mount_version, mount_root, mount_point in mounts:
            if mount_version != version:
                continue
            inside = os.path.relpath(path, mount_root)
            if inside.startswith(".."):
                inside = "."  # the mount shows another part of the tree: its top is the nearest that can be seen
            yield version, mount_point, os.path.normpath(os.path.join(mount_point, inside))


def group_free(root: str = "/") -> tuple[int, str] | None:
    """(bytes left, directory) of the tightest control group above this process; None when none has a limit."""
    tightest = None
    for version, top, directory in _groups(root):
        limit_name, usage_name, cache_name = (
            ("memory.max", "memory.current", "inactive_file")
            if version == 2
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        while True:
            limit, usage = _read(os.path.join(directory, limit_name)), _read(os.path.join(directory, usage_name))
            if limit and usage and limit.strip() != "max" and int(limit) < _UNLIMITED:
                # Pages of files that nobody has used lately are dropped before anyone is killed.
                left = int(limit) - int(usage) + _field(_read(os.path.join(directory, "memory.stat")), cache_name)
                if tightest is None or left < tightest[0]:
                    tightest = (max(left, 0), directory)
            if directory == top or len(directory) <= len(top):
                break
            directory = os.path.dirname(directory)
    return tightest


def shortage(nbytes: int, fd: int | None = None) -> str | None:
    """None if `nbytes` more bytes fit behind the descriptor (None: private memory), else what is short, in numbers."""
    free = file_system_free(fd) if fd is not None else None
    if free is not None and free < nbytes:
        return f"{nbytes} bytes wanted, the file system has {free} free"
    if fd is not None and not in_memory(fd):
        return None
    needed = nbytes + nbytes // 256  # page tables and the file's page index: two words of 8 bytes a page of 4096
    free = machine_free()
    if free is not None and free < needed:
        return f"{needed} bytes wanted (page tables included), the machine has {free} available"
    group = group_free()
    if group is not None and group[0] < needed:
        return f"{needed} bytes wanted (page tables included), the control group {group[1]} has {group[0]} left"
    return None
