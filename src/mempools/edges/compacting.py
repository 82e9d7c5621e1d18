"""L6: `mempools compact`: the objects of an arena's pools moved together, and what that gave back."""

from collections.abc import Iterator
from dataclasses import dataclass

from mempools import sizes
from mempools.arena import Arena
from mempools.errors import PoolError
from mempools.objects.observing import PAGE


@dataclass(frozen=True)
class Compacted:
    """A pool, and bytes of memory: what its objects have in the end, what compaction gave back; objects that it moved (by all
    who compacted at the time)."""

    pool: str
    memory_bytes: int
    freed_bytes: int
    moved: int


def compact(arena: Arena, names: list[str]) -> list[Compacted]:
    """Compacts the pools of those names, or all that can be. PoolError for a name of no such pool."""
    kinds = {pool.name: pool.kind for pool in arena.pools() if pool.kind == "zspool"}
    for name in names:
        if name not in kinds:
            raise PoolError(f"the arena has no pool {name!r} that can be compacted")
    found = []
    for name in names or kinds:
        pool = arena.zspool(name)
        before = pool.stats()
        freed = pool.compact()
        after = pool.stats()
        found.append(Compacted(name, after.memory_bytes, freed * PAGE, after.moved - before.moved))
    return found


def lines(found: list[Compacted]) -> Iterator[str]:
    if not found:
        yield "no pool with objects that can be moved"
    for row in found:
        yield (
            f"{row.pool}: {sizes.text(row.freed_bytes)} given back, {row.moved} objects moved; "
            f"{sizes.text(row.memory_bytes)} in use"
        )
