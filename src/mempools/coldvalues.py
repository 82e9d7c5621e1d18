"""L5: what a Store does with values that have not been read for a while: encode them again, or spill them to a file."""

import os
from typing import TYPE_CHECKING, Any

from mempools import codecs
from mempools.spillfile import Files

if TYPE_CHECKING:
    from mempools.recompressing import RecompressResult
    from mempools.spilling import SpillResult


class ColdValues:
    """A base of Store."""

    _files: Files

    def recompress(
        self,
        codec: str | codecs.Codec = "zstd",
        *,
        idle: float = 0.0,
        min_bytes: int = 64,
        max_entries: int | None = None,
    ) -> "RecompressResult":
        """Encode values with another codec, and keep what is smaller: those that were not put or read for `idle` seconds and
        have at least `min_bytes` as stored; at most `max_entries` of them. Reading needs no more than the codec.

        Values keep their times to live, and the time when they were read last. A put that comes between wins. With zstd, and a
        dictionary in the store, values of up to 64 KiB are encoded with it. What has the codec already is left alone, unless the
        store writes with zstd and another level is wanted. `compact` gives back what gets free.

        UnknownCodec, CodecMissing. PoolError if `idle` is asked of a store that evicts by "lfu". Thread-safe, process-safe;
        others read and write meanwhile; killed anywhere it leaves each value in the one form or the other. The nearest relative
        in the kernel is zram's recompression (drivers/block/zram)."""
        from mempools import recompressing

        return recompressing.recompress(self, codec, _seconds(idle), min_bytes, max_entries)

    def spill_to(self, path: str | os.PathLike[str]) -> None:
        """Say where `spill` writes: files PATH.1, PATH.2, ... of mode 0600, one at a time. Once for a store, which keeps the
        absolute path: every process that opens it finds them. The first file is made now.

        OSError: it cannot be made; FileExistsError if there is one. PoolError if the store has another path. Thread-safe,
        process-safe."""
        self._files.choose(path)

    def spill(
        self, *, idle: float = 0.0, max_bytes: int | None = None, max_entries: int | None = None
    ) -> "SpillResult":
        """Move values to the store's file (`spill_to`): those that were not put or read for `idle` seconds and have at least
        256 bytes as stored (and a key of at most 1024), until `max_bytes` or `max_entries` of them are there.

        Their keys stay, and every read finds them as before, by one pread; a value that is read comes back to memory if
        there is room without anything being evicted. A put that comes between wins. When over half of a file is dead, the rest
        is written to a new one.

        PoolError: the store has no path, or `idle` is asked of one that evicts by "lfu". OSError: the file cannot be written
        (the disk is full); Exhausted: there is no room for what is kept in place of a value. The values are in memory then.
        Reading raises Corrupt for a value whose file is damaged, or not there; other keys go on working. Thread-safe,
        process-safe; killed anywhere it leaves each value in memory or in the file. The nearest relative in the kernel is
        zram's writeback (drivers/block/zram)."""
        from mempools import spilling

        return spilling.spill(self, _seconds(idle), max_bytes, max_entries)

    def rewrite_spill(self) -> int:
        """Write what is alive in the store's file to a new one, and take the old one away; bytes that went. 0 if a value could
        not be read: then the old file stays. Errors as of `spill`. Thread-safe, process-safe; others read meanwhile, who spills
        waits a moment; killed anywhere it leaves both, and the next one takes the old one away."""
        from mempools import spilling

        return spilling.rewrite(self)


def _seconds(idle: Any) -> float:
    if not idle >= 0:
        raise ValueError(f"idle {idle}: seconds, at least 0")
    return float(idle)
