"""L4: what `stats()` and `chunks()` of pools return."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ChunkInfo:
    """One chunk of a GenPool; sizes in bytes. `address` is an arena offset, or the address of foreign memory."""

    address: int
    nbytes: int
    avail: int
    device: int | None
    owner: int


@dataclass(frozen=True)
class GenPoolStats:
    """Sizes in bytes. `largest` is the largest block that could be had now; `holders` maps process ids to what they hold,
    with "shared" and "structures" for blocks that no single process owns."""

    size: int
    avail: int
    largest: int
    granule: int
    chunks: int
    holders: dict[int | str, int]


@dataclass(frozen=True)
class PoolInfo:
    """A pool of an arena; sizes in bytes. `kind` is "pages", "genpool", "store", ...; the arena's own pages have no name."""

    name: str
    kind: str
    granule: int
    size: int
    avail: int
    chunks: int


@dataclass(frozen=True)
class ArenaStats:
    """Sizes in bytes. `free_bytes` are in pages that no pool has taken; `recovered` counts the dead processes whose remains
    were swept since the arena was made."""

    nbytes: int
    free_bytes: int
    pools: tuple[PoolInfo, ...]
    processes: int
    recovered: int


@dataclass(frozen=True)
class MempoolStats:
    """Elements: `curr_nr` in the reserve, which is to have `min_nr`; `outstanding` in somebody's hands; `holders` maps process
    ids to how many, with "shared" for those that were pickled. `waiters` wait now.

    Since the pool was made, by all processes: elements that came from the `backend` and from the `reserve`; `frees`, of
    which `refills` went into the reserve; `waits` that ended with an element, `timeouts` that did not; `repolls`: looks of
    waiters that nobody had woken. `low_water`: the least that the reserve ever had. `wait_histogram[i]`: waits of less than
    2**i microseconds, and not less than half of that."""

    min_nr: int
    curr_nr: int
    outstanding: int
    waiters: int
    backend: int
    reserve: int
    refills: int
    frees: int
    waits: int
    repolls: int
    timeouts: int
    low_water: int
    wait_histogram: tuple[int, ...]
    holders: dict[int | str, int]


@dataclass(frozen=True)
class PerCpuChunkStats:
    """One chunk of a PerCpu, as percpu_stats of the kernel shows it; bytes of a unit. `state`: "first" (never given back), "" (in
    circulation), "sidelined" (asked last) or "to_depopulate". `max_alloc_size`: of the largest area it ever had; `first_bit`: the
    first free granule, of 4 bytes; `contig_bytes`: the longest free run. Free runs before the last area: `sum_frag` together,
    `max_frag` the longest. Areas that are there: `nr_alloc`, the smallest, the median and the largest."""

    state: str
    nr_alloc: int
    max_alloc_size: int
    empty_pop_pages: int
    populated_pages: int
    first_bit: int
    free_bytes: int
    contig_bytes: int
    sum_frag: int
    max_frag: int
    cur_min_alloc: int
    cur_med_alloc: int
    cur_max_alloc: int


@dataclass(frozen=True)
class PerCpuStats:
    """What percpu_stats of the kernel shows of an allocator, here of one PerCpu, since it was made, by all processes. Sizes in
    bytes of a unit; `alloc_size`: of a chunk, all units together; `static_size` and `reserved_size` are 0, for nothing is linked
    in. `empty_pop_pages`: pages of a unit that are wholly free and populated; `populated_bytes`: memory that the units have from
    the system, all units together (Percpu in /proc/meminfo). Areas in the reserve of a PerCpuPool count as allocated."""

    unit_size: int
    static_size: int
    reserved_size: int
    dyn_size: int
    atom_size: int
    alloc_size: int
    nr_alloc: int
    nr_dealloc: int
    nr_cur_alloc: int
    nr_max_alloc: int
    nr_chunks: int
    nr_max_chunks: int
    min_alloc_size: int
    max_alloc_size: int
    empty_pop_pages: int
    populated_bytes: int
    chunks: tuple[PerCpuChunkStats, ...]


@dataclass(frozen=True)
class Maintained:
    """What `PerCpu.maintain()` has done: pages of a unit that it `populated` and that it gave back (`depopulated`), in all units
    each. `complete`: as many as should be are ready for requests that may not wait."""

    populated: int
    depopulated: int
    complete: bool


@dataclass(frozen=True)
class PerCpuPoolStats:
    """Areas: `level` in the reserve now, which is refilled to `high` when it has fallen below `low`; `low_water`: the least it
    ever had. Of all processes since the pool was made: allocations that got one (`hits`) or None (`misses`), areas put in
    (`refilled`). Of this object: refills that failed (`failures`), and why the last one did (`error`)."""

    level: int
    low: int
    high: int
    low_water: int
    hits: int
    misses: int
    refilled: int
    failures: int
    error: str | None


@dataclass(frozen=True)
class ZsPoolStats:
    """Of a ZsPool: `objects` and their `pages_used`, in bytes `memory_bytes`; `pages_freeable`: what compaction
    could give back, about; `deferred`: of the objects those that `free_deferred` has ended and that still have their place.

    Since the pool was made, by all processes: pages that compaction gave back (`pages_compacted`, zs_pool_stats in
    mm/zsmalloc.c), objects that it moved, and how often it passed one by that somebody was reading (`skipped`); `nr_alloc`:
    objects that were allocated."""

    objects: int
    zspages: int
    pages_used: int
    memory_bytes: int
    pages_freeable: int
    pages_compacted: int
    moved: int
    skipped: int
    nr_alloc: int
    deferred: int


@dataclass(frozen=True)
class ZsClassInfo:
    """One size class, the columns of the kernel's debugfs table: `size` of a slot in bytes, header included; how many zspages
    are up to 10, 20 .. 90 % full, fuller, or full (`fullness`, eleven numbers), and `empty`; slots (`obj_allocated`) and objects
    (`obj_used`); `pages_used`, `pages_per_zspage`, `objs_per_zspage`; `freeable`: pages that compaction could give back."""

    index: int
    size: int
    empty: int
    fullness: tuple[int, ...]
    obj_allocated: int
    obj_used: int
    pages_used: int
    pages_per_zspage: int
    objs_per_zspage: int
    freeable: int
