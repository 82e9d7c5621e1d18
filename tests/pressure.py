"""Mempools whose backends have nothing, so that there is only what is in the reserve."""

from contextlib import contextmanager

from mempools import Arena, Mempool


class Element:
    """Not inside a test: free-threaded 3.13 never frees a class."""


@contextmanager
def pools_of(kind):
    """Makes pools of "objects", "blocks" that processes share, or "private blocks"."""
    arenas = []

    def make(min_nr, **options):
        if kind == "objects":
            pool = Mempool(min_nr, Element, **options)
        else:
            arenas.append(Arena.anonymous("1M") if kind == "blocks" else Arena("1M"))
            pool = arenas[-1].mempool("pool", nbytes=64, min_nr=min_nr, **options)
        pool.fail_backend(lambda n: True)
        return pool

    yield make
    for arena in arenas:
        arena.check()
        arena.close()


def whole(pool) -> bool:
    """Is everything in the reserve that is to be there, and nobody waiting?"""
    stats = pool.stats()
    return (stats.curr_nr, stats.outstanding, stats.waiters) == (max(pool.min_nr, 1), 0, 0)
