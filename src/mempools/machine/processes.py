"""L0: what identifies a process for as long as the machine is up, and whether it is gone for certain."""

import os


def _namespace(kind: str) -> int:
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino & 0xFFFFFFFF
    except OSError:
        return 0


def _stat(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()  # from field 3 on: the name before may hold anything


def space() -> int:
    """Where this process's numbers hold, as one word; 0 if it cannot be known.

    Process numbers mean the same to processes of one pid name space, start times to those of one time name space: it
    is both inode numbers.
    """
    pid_space = _namespace("pid")
    return _namespace("time") << 32 | pid_space if pid_space else 0


def identity() -> tuple[int, int, int]:
    """(pid, start time in clock ticks after boot, space) of this process."""
    try:
        return os.getpid(), int(_stat(os.getpid())[19]), space()
    except OSError:
        return os.getpid(), 0, 0


def gone(pid: int, start_time: int, its_space: int) -> bool:
    """Whether that process has ended for certain; False also when it cannot be told from here."""
    if not 0 < pid < 1 << 31 or its_space == 0 or its_space != space():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    try:
        fields = _stat(pid)
    except OSError:
        return False  # hidden from us, or ended just now: the next look will tell
    if int(fields[19]) != start_time:
        return True  # the number was given to another process
    # A zombie runs nothing, unless only its first thread has ended and others go on (field 20 counts threads).
    return fields[0] in "ZX" and int(fields[17]) <= 1
