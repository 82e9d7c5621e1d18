"""L5: how much of per-CPU memory one part of a program may have (obj_cgroup charges in mm/percpu.c)."""

import threading
from collections import deque

from mempools import sizes
from mempools.errors import Exhausted


class Quota:
    """At most `limit` bytes, of all copies together, charged to one account: `arena.percpu(name, quota=Quota("1M"))`.

    Each `alloc` charges before it takes anything and gives the charge back if it fails; the end of the `Area` gives it back,
    however it comes. An account is of one process and ends with it. Any object with these two methods can stand for it.
    Thread-safe; `uncharge` takes no lock and is legal in any context, for it runs in destructors."""

    def __init__(self, limit: int | str) -> None:
        self.limit = sizes.parse(limit)
        self._lock = threading.Lock()
        self._used = 0
        self._returned: deque[int] = deque()

    @property
    def used(self) -> int:
        """Bytes that are charged now."""
        with self._lock:
            return self._settle()

    def _settle(self) -> int:
        while self._returned:
            self._used -= self._returned.popleft()
        return self._used

    def charge(self, nbytes: int) -> None:
        """Exhausted, and nothing charged, beyond the limit."""
        with self._lock:
            used = self._settle()
            if nbytes > self.limit - used:
                raise Exhausted(f"quota: {nbytes} bytes more than the {used} of {self.limit} that are charged already")
            self._used += nbytes

    def uncharge(self, nbytes: int) -> None:
        """What was charged comes back."""
        self._returned.append(nbytes)

    def __repr__(self) -> str:
        return f"<mempools.Quota, {self.used} of {self.limit} bytes>"
