"""L5: what `Store.stats` says."""

from dataclasses import dataclass

from mempools.objects import storescan, storespill
from mempools.objects.storeindex import StoreIndex


@dataclass(frozen=True)
class StoreStats:
    """What is in a store; all but `count` in bytes.

    `logical_bytes`: the values. `stored_bytes`: the values as they are stored, compressed. `memory_bytes`: the arena memory
    that they take, with keys, headers, dictionaries, pages that are partly free, and all tables. `capacity_bytes`: what the store
    has taken from the arena so far for its entries and the growth of its tables. `freeable_bytes`: what `compact` could give
    back, about. `dictionary_bytes`: all dictionaries. `limit`: of stored_bytes, which never pass it; None: there is none.
    `evictions`, `expirations`: entries that went because others needed their place, and expired entries that were taken away,
    since the store was made. An expired entry is among `count` and the bytes until it is taken away. `spilled_count`,
    `spilled_bytes`: values that are in the spill file, and what they have there, as stored; they are among `count` and
    `logical_bytes`, and in `stored_bytes` with 32 bytes each. `spill_file_bytes`: of the file that grows, with the dead bytes
    in it. The numbers are read one after another while others write.
    """

    count: int
    logical_bytes: int
    stored_bytes: int
    memory_bytes: int
    capacity_bytes: int
    freeable_bytes: int
    dictionary_bytes: int = 0
    limit: int | None = None
    evictions: int = 0
    expirations: int = 0
    spilled_count: int = 0
    spilled_bytes: int = 0
    spill_file_bytes: int = 0

    @property
    def ratio(self) -> float:
        """Bytes of values per byte of memory; 0 for an empty store."""
        return self.logical_bytes / self.memory_bytes if self.count else 0.0

    @property
    def compression(self) -> float:
        """Bytes of values per stored byte; 0 for an empty store."""
        return self.logical_bytes / self.stored_bytes if self.stored_bytes else 0.0


def stats_of(index: StoreIndex, dictionary_bytes: int) -> StoreStats:
    count, logical, stored, taken, table, capacity, _ = storescan.sizes(index)
    _, evictions, expirations = storescan.counters(index)
    return StoreStats(
        count,
        logical,
        stored,
        taken + table,
        capacity,
        index.can_compact() * 4096,
        dictionary_bytes,
        index.limit or None,
        evictions,
        expirations,
        *storespill.outside(index),
        storespill.grows(index)[1],
    )
