"""What `mempools stat` says about an arena: its sizes, who has it open, a table of its pools, and what some kinds count."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from mempools import sizes
from mempools.arena import Arena
from mempools.edges.arenamap import percent
from mempools.edges.drawing import shortened
from mempools.edges.tree import MANIFEST
from mempools.picture import Picture, PoolPicture
from mempools.store import Store

_BARS = "▁▂▃▄▅▆▇█"


def figures(arena: Arena) -> dict[str, Any]:
    """As JSON has them."""
    pools = arena.pools()
    picture = arena.picture()
    return {
        "name": arena.name,
        "arena_bytes": arena.nbytes,
        "id": arena.id,
        "pools": _pools(picture),
        "stores": {pool.name: _store(arena.store(pool.name)) for pool in pools if pool.kind == "store"},
        "mempools": dict(_mempools(arena, [pool.name for pool in pools if pool.kind == "mempool"])),
        "percpu": dict(_percpus(arena, [pool.name for pool in pools if pool.kind == "percpu"])),
        "percpu_pools": {pool.name: _reserve(pool.counters) for pool in picture.pools if pool.kind == "percpu_pool"},
        "zrams": dict(_zrams(arena, [pool.name for pool in pools if pool.kind == "zram"])),
        "zspools": {pool.name: asdict(arena.zspool(pool.name).stats()) for pool in pools if pool.kind == "zspool"},
        "pids": sorted({process.pid for process in arena.processes() if process.pid != os.getpid()}),
    }


def _pools(picture: Picture) -> list[dict[str, Any]]:
    """Every pool, whatever its kind."""
    return [
        {
            "name": pool.name,
            "kind": pool.kind,
            "granule": pool.granule,
            "arena_bytes": pool.nbytes,
            "size": pool.size,
            "taken_bytes": pool.size - pool.free,
            "count": count_of(pool),
        }
        for pool in picture.pools
    ]


def count_of(pool: PoolPicture) -> int:
    """How many keys a store has, how many are in the reserve of a PerCpuPool, how many objects a ZsPool or Zram has; of another
    pool, how many blocks are taken."""
    if pool.kind == "store":
        return pool.counters.get("count", 0)
    if pool.kind in ("zspool", "zram"):
        return pool.counters.get("objects", 0)
    return pool.counters.get("curr_nr", 0) if pool.kind == "percpu_pool" else pool.nr_blocks


def _store(store: Store) -> dict[str, Any]:
    stats = store.stats()
    return {
        "codec": store.codec,
        "count": stats.count - (MANIFEST in store),
        "logical_bytes": stats.logical_bytes,
        "stored_bytes": stats.stored_bytes,
        "memory_bytes": stats.memory_bytes,
        "freeable_bytes": stats.freeable_bytes,
        "ratio": round(stats.ratio, 3),
        "compression": round(stats.compression, 3),
        "dictionary": store.dictionary and asdict(store.dictionary),
        "dictionary_bytes": stats.dictionary_bytes,
        "limit": stats.limit,
        "evict": store.evict,
        "evictions": stats.evictions,
        "expirations": stats.expirations,
        "spilled_count": stats.spilled_count,
        "spilled_bytes": stats.spilled_bytes,
        "spill_file_bytes": stats.spill_file_bytes,
        "namespaces": [asdict(space) for space in store.namespace_stats()],
    }


def _mempools(arena: Arena, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in names:
        try:
            pool = arena._known_mempool(name)  # as it is: its configuration need not be known here
        except KeyError:
            continue  # somebody is making it, or has destroyed it
        yield name, {"element_bytes": pool.nbytes} | asdict(pool.stats())


def _percpus(arena: Arena, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in names:
        try:
            pool = arena._known_percpu(name)
        except KeyError:
            continue  # likewise
        yield name, {"units": pool.nr_units} | asdict(pool.stats())


def _zrams(arena: Arena, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in names:
        try:
            device = arena.zram(name)
        except KeyError:
            continue  # likewise
        yield name, {"disksize": device.disksize, "codec": device.codec} | asdict(device.stats())


def _reserve(counters: dict[str, int]) -> dict[str, int]:
    names = {
        "element_bytes": "element_bytes",
        "level": "curr_nr",
        "high": "min_nr",
        "hits": "reserve",
        "misses": "timeouts",
    }
    return {name: counters.get(of, 0) for name, of in (names | {"refilled": "refills"}).items()}


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The same for people."""
    nbytes = found["arena_bytes"]
    yield f"arena    {found['name']}, {sizes.text(nbytes)} ({nbytes} bytes), id {found['id']}"
    if found["pids"]:
        yield f"open in  {', '.join(map(str, found['pids']))}"
    if found["pools"]:
        width = min(32, max(len(pool["name"]) for pool in found["pools"]))
        yield f"{'KIND':<11}  {'POOL':<{width}}  {'MEMORY':>8}  {'SIZE':>8}  {'TAKEN':>6}  {'COUNT':>8}"
    for pool in found["pools"]:
        taken = percent(pool["taken_bytes"], pool["size"]) if pool["size"] else "-"
        yield (
            f"{pool['kind']:<11}  {shortened(pool['name'], width):<{width}}  {sizes.text(pool['arena_bytes']):>8}  "
            f"{sizes.text(pool['size']):>8}  {taken:>6}  {pool['count']:>8}"
        )
    for name, stats in found["stores"].items():
        yield f"store    {name!r}, {stats['count']} keys, codec {stats['codec']}"
        for label in ("logical", "stored", "memory"):
            nbytes = stats[f"{label}_bytes"]
            yield f"  {label:<8}{sizes.text(nbytes):>10}  {nbytes} bytes"
        yield f"  holes   {sizes.text(stats['freeable_bytes']):>10}  that compaction could give back"
        yield f"  ratio   {stats['ratio']:>10.2f}  logical / memory ({stats['compression']:.2f} by the codec)"
        if stats["spill_file_bytes"]:
            yield (
                f"  spilled {sizes.text(stats['spilled_bytes']):>10}  of {stats['spilled_count']} values, in a file of "
                f"{sizes.text(stats['spill_file_bytes'])}"
            )
        if stats["limit"] or stats["evictions"] or stats["expirations"]:
            yield (
                f"  limit   {sizes.text(stats['limit']) if stats['limit'] else 'none':>10}  of stored, evict {stats['evict']}: "
                f"{stats['evictions']} evicted, {stats['expirations']} expired"
            )
        if made := stats["dictionary"]:
            without, with_it = (made["sample_bytes"] / made[f"{kind}_bytes"] for kind in ("plain", "stored"))
            yield (
                f"  trained {sizes.text(made['nbytes']):>10}  dictionary {made['number']}: its samples {with_it:.2f} by the "
                f"codec, without it {without:.2f}"
            )
        yield from _namespaces(stats["namespaces"])
    for name, stats in found["mempools"].items():
        yield f"mempool  {name!r}, elements of {sizes.text(stats['element_bytes'])}"
        yield f"  reserve {stats['curr_nr']:>10} of {stats['min_nr']}, low-water mark {stats['low_water']}"
        yield f"  held    {stats['outstanding']:>10}{_by_process(stats['holders'])}"
        yield f"  waiting {stats['waiters']:>10} now"
        yield (
            f"  taken   {stats['backend'] + stats['reserve']:>10}  {stats['backend']} from the backend, "
            f"{stats['reserve']} from the reserve"
        )
        yield f"  freed   {stats['frees']:>10}  {stats['refills']} into the reserve"
        yield (
            f"  waits   {stats['waits']:>10}  {stats['timeouts']} timed out, {stats['repolls']} looked again"
            f"{histogram(stats['wait_histogram'])}"
        )

    for name, stats in found["percpu"].items():
        yield f"percpu   {name!r}, {stats['units']} units of {sizes.text(stats['unit_size'])}"
        yield f"  areas   {stats['nr_cur_alloc']:>10}, at most {stats['nr_max_alloc']}, {stats['nr_alloc']} since it was made"
        yield f"  chunks  {stats['nr_chunks']:>10} of {sizes.text(stats['alloc_size'])}"
        yield f"  memory  {sizes.text(stats['populated_bytes']):>10}  {stats['empty_pop_pages']} pages of a unit ready"
    for name, stats in found["zspools"].items():
        yield f"zspool   {name!r}, {stats['objects']} objects, {stats['deferred']} of them deferred"
        yield (
            f"  memory  {sizes.text(stats['memory_bytes']):>10}  {stats['pages_used']} pages, of which compaction could give "
            f"back {stats['pages_freeable']}"
        )
        yield f"  moved   {stats['moved']:>10}  for {stats['pages_compacted']} pages; {stats['skipped']} were being read"
    for name, stats in found["zrams"].items():
        yield f"zram     {name!r}, {sizes.text(stats['disksize'])}, codec {stats['codec']}"
        yield (
            f"  pages   {stats['orig_data_size'] // 4096:>10}  {stats['same_pages']} of one word, {stats['huge_pages']} as they "
            f"are, {stats['bd_count']} in the backing file"
        )
        yield f"  stored  {sizes.text(stats['compr_data_size']):>10}  of {sizes.text(stats['orig_data_size'])}"
        yield (
            f"  memory  {sizes.text(stats['mem_used_total']):>10}  at most {sizes.text(stats['mem_used_max'])}, limit "
            f"{sizes.text(stats['mem_limit']) if stats['mem_limit'] else 'none'}"
        )
    for name, stats in found["percpu_pools"].items():
        yield f"reserve  {name!r}, areas of {sizes.text(stats['element_bytes'])}"
        yield f"  ready   {stats['level']:>10} of {stats['high']}"
        yield f"  taken   {stats['hits']:>10}  {stats['misses']} asked for in vain, {stats['refilled']} put in"


def _namespaces(spaces: Sequence[dict[str, Any]]) -> Iterator[str]:
    if spaces:
        width = min(32, max(9, *(len(space["name"]) for space in spaces)))
        yield (
            f"  {'NAMESPACE':<{width}}  {'KEYS':>8}  {'LOGICAL':>9}  {'STORED':>9}  {'GETS':>10}  {'HITS':>6}  {'PUTS':>10}  "
            f"{'DELETES':>10}"
        )
    for space in spaces:
        counted = space["counted"]
        gets, puts, deletes = (space[what] if counted else "-" for what in ("gets", "puts", "deletes"))
        yield (
            f"  {shortened(space['name'], width):<{width}}  {space['count']:>8}  {sizes.text(space['logical_bytes']):>9}  "
            f"{sizes.text(space['stored_bytes']):>9}  {gets:>10}  "
            f"{percent(space['hits'], space['gets']) if space['gets'] else '-':>6}  {puts:>10}  {deletes:>10}"
        )


def _by_process(holders: dict[int | str, int]) -> str:
    held = ", ".join(
        f"{nr} shared" if who == "shared" else f"{nr} by process {who}"
        for who, nr in sorted(holders.items(), key=lambda item: -item[1])
    )
    return held and f"  {held}"


def histogram(counts: Sequence[int]) -> str:
    """One bar for each power of two of microseconds, from the shortest wait to the longest; "" if nobody has waited."""
    used = [i for i, nr in enumerate(counts) if nr]
    if not used:
        return ""
    shown, most = counts[used[0] : used[-1] + 1], max(counts)
    bars = "".join(_BARS[(nr * len(_BARS) - 1) // most] if nr else " " for nr in shown)
    low = _duration(1 << used[0] - 1) if used[0] else "0 us"
    high = _duration(1 << used[-1]) if used[-1] < len(counts) - 1 else "ever"
    return f"; {low} |{bars}| {high}"


def _duration(us: int) -> str:
    if us < 1000:
        return f"{us} us"
    return f"{us / 1e3:.3g} ms" if us < 1_000_000 else f"{us / 1e6:.3g} s"
