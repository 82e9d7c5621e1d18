"""Forked children that do one thing and end, and waiting for what they do."""

import os
import signal
import time


def start(work, seconds=100) -> int:
    """A child that does work(); its process id. It is not there for longer than that, unless that is 0."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            work()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(1)
    return pid


def status_of(pid) -> int:
    """How a child ended: its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_child(work, seconds=100) -> int:
    """How a child ends that does work()."""
    return status_of(start(work, seconds))


def until(condition, seconds=60) -> None:
    """Looks until it is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.0005)
