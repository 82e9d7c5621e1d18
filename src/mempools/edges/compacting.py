"""L6: `mempools compact`: the objects of an arena's pools moved together, and what that gave back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mempools import sizes
from mempools.arena import Arena
from mempools.errors import PoolError
from mempools.objects.observing import PAGE
from mempools.picture import PoolPicture


@dataclass(frozen=True)
class Compacted:
    """A pool, and bytes of memory: what its zspages have in the end, what compaction made free, what went back to the arena, for
    other pools; objects that it moved (by all who compacted at the time)."""

    pool: str
    memory_bytes: int
    freed_bytes: int
    returned_bytes: int
    moved: int


def compact(arena: Arena, names: list[str]) -> list[Compacted]:
    """Compacts the pools of those names, or all that can be. PoolError for a name of no such pool."""
    of_kind: dict[str, Callable[[str], Any]] = {"zspool": arena.zspool, "store": arena.store, "zram": arena.zram}
    kinds = {pool.name: pool.kind for pool in arena.pools() if pool.kind in of_kind}
    for name in names:
        if name not in kinds:
            raise PoolError(f"the arena has no pool {name!r} that can be compacted")
    found = []
    for name in names or kinds:
        before = _seen(arena, name)
        pool = of_kind[kinds[name]](name)
        freed, returned = pool.compact(), pool.rehome()
        after = _seen(arena, name)
        moved = after.counters.get("nr_moved", 0) - before.counters.get("nr_moved", 0)
        memory = sum(zspage.nbytes for zspage in after.zspages)
        found.append(Compacted(name, memory, freed * PAGE, returned * PAGE, moved))
    return found


def _seen(arena: Arena, name: str) -> PoolPicture:
    return next(pool for pool in arena.picture().pools if pool.name == name)


def lines(found: list[Compacted]) -> Iterator[str]:
    if not found:
        yield "no pool with objects that can be moved"
    for row in found:
        yield (
            f"{row.pool}: {sizes.text(row.freed_bytes)} given back to the system, {sizes.text(row.returned_bytes)} to the arena, "
            f"{row.moved} objects moved; {sizes.text(row.memory_bytes)} in use"
        )
