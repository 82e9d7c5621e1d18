"""The exceptions of mempools. Each derives from the builtin that a caller would catch, says what happened, carries the
values and says what to do."""


class PoolError(Exception):
    """Base of every error that mempools raises on purpose."""


class Exhausted(PoolError, MemoryError):
    """No memory of the wanted size now: the pool, the arena, a table in it, the file system or the cgroup is full."""


class NotOwned(PoolError, ValueError):
    """A free of something that is not this process's block: free already, somebody else's, inside a block, or of
    another size. Nothing was changed."""


class StaleHandle(NotOwned):
    """A handle whose block has been freed since (its generation moved on)."""


class Busy(PoolError, BufferError):
    """Refused while views are exported, or while other processes use the thing."""


class Corrupt(PoolError):
    """The arena's words contradict each other."""


class LayoutMismatch(PoolError):
    """Not an arena, an arena of another version or machine, or a pool of another configuration."""


class BadSnapshot(PoolError, ValueError):
    """A file that is no snapshot of a store, or not all of one, or of another version."""


class WouldBlock(Exhausted):
    """Nothing is there now, and the caller said that it may not wait, or it has waited as long as it may."""


class WaitForbidden(PoolError, RuntimeError):
    """A wait that could never end, or would stop the one who has to end it: refused at once. The message names who would
    wait for whom, and what to call instead."""


class LockOrder(WaitForbidden):
    """A wait that closes a circle of waits, each of which this process has seen, if not at the same time: found by the debug
    mode `mempools.lockdep`, before the wait. The message has the circle, with both stacks of each wait."""
