"""L5: what a Zram counts."""

from dataclasses import dataclass

from mempools.objects import zramscan
from mempools.objects.zramobject import PAGE, ZramPages


@dataclass(frozen=True)
class ZramStats:
    """What there is in a Zram now, read off its table, and what has happened since it was made. Bytes, or numbers of pages.

    `orig_data_size`: of the pages that were written; `compr_data_size`: of what is stored of them in memory; `mem_used_total`: of
    the pages of the arena that it lies in; `mem_used_max`: the most that ever was; `mem_limit`: 0 for none. `same_pages`: of one
    word, which take no memory; `huge_pages`: stored as they are, now; `huge_pages_since`: ever. `incompressible_pages`: that no
    codec has made smaller; `idle_pages`: marked. `pages_compacted`: that compaction gave back. `failed_reads`, `failed_writes`,
    `notify_free` (pages discarded), `miss_free` (that were in use when `notify_free` came). `bd_count`: pages in the backing file
    now; `bd_reads`, `bd_writes`: in units of 4 KiB, ever.
    """

    orig_data_size: int
    compr_data_size: int
    mem_used_total: int
    mem_limit: int
    mem_used_max: int
    same_pages: int
    pages_compacted: int
    huge_pages: int
    huge_pages_since: int
    incompressible_pages: int
    idle_pages: int
    failed_reads: int
    failed_writes: int
    notify_free: int
    miss_free: int
    bd_count: int
    bd_reads: int
    bd_writes: int

    @property
    def ratio(self) -> float:
        """Bytes that were written, and are not in the backing file, per byte of memory; 0 where nothing takes memory."""
        in_memory = self.orig_data_size - self.bd_count * PAGE
        return in_memory / self.mem_used_total if self.mem_used_total else 0.0


def stats_of(pages: ZramPages) -> ZramStats:
    sums, counts = zramscan.sums(pages), zramscan.counters(pages)
    return ZramStats(
        sums["stored"] * PAGE,
        sums["nbytes"],
        zramscan.used_pages(pages) * PAGE,
        zramscan.settings(pages)["limit_pages"] * PAGE,
        counts["max_used_pages"] * PAGE,
        sums["same"],
        zramscan.pages_compacted(pages),
        sums["huge"],
        counts["huge_pages_since"],
        sums["incompressible"],
        sums["idle"],
        counts["failed_reads"],
        counts["failed_writes"],
        counts["notify_free"],
        counts["miss_free"],
        sums["written_back"],
        counts["bd_reads"],
        counts["bd_writes"],
    )
