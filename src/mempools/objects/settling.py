"""L4: what a check finds wrong beside others at work counts only if it stays so.

A thread between two steps of a free looks like damage, and the system may stop it there for as long as it likes. So a look
that finds something is repeated, holding nothing, for SECONDS; alone in the arena there is nobody to wait for. A process that
is stopped for longer (SIGSTOP, a debugger) in the middle of a step is taken for damage."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from mempools.layout.mapping import Mapping
from mempools.layout.proctable import snapshot

Found = TypeVar("Found")

SECONDS = 5.0

pause = time.sleep


def what_stays(look: Callable[[], Found], mapping: Mapping) -> Found:
    """What look() finds, once it finds nothing or finds something for long enough."""
    end = time.monotonic() + SECONDS
    while True:
        found = look()
        if not found or alone(mapping) or time.monotonic() > end:
            return found
        pause(0.01)


def alone(mapping: Mapping) -> bool:
    """No other thread or process can be in the middle of something."""
    others = mapping.fd >= 0 and any(p.alive and p.slot != mapping.slot for p in snapshot(mapping.fd))
    return threading.active_count() == 1 and not others
