"""Store: values that are recompressed, spilled, and read from the spill file, beside memory, and beside diskcache and LMDB."""

import contextlib
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import mempools
from bench.harness import arguments, measure, missing, report
from bench.store import each, json_value

VALUES = 20_000


def recompress(options: Any, arena: mempools.Arena, keys: list[str], texts: list[bytes]) -> None:
    took: dict[str, list[float]] = {}
    sizes: dict[str, list[float]] = {}
    for codec in ("zstd:3", "zstd:10"):
        store = arena.store("recompressed", codec="lz4")
        store.update(zip(keys, texts, strict=True))
        sizes["lz4"] = [store.stats().memory_bytes / len(keys)]
        begun = time.perf_counter()
        found = store.recompress(codec)
        store.compact()
        took[f"lz4 to {codec}, with compaction"] = [
            found.bytes_before / (time.perf_counter() - begun) / 1e6,
        ]
        sizes[f"recompressed with {codec}"] = [store.stats().memory_bytes / len(keys)]
        store.destroy()
    report("Recompression, one process", took, options, unit="MB of stored bytes a second")
    report("What recompression gives back: memory", sizes, options, unit="bytes a value")


def rivals(folder: Path, keys: list[str], texts: list[bytes]) -> dict[str, Any]:
    """Getters of other stores that have the values in files; uncompressed."""
    found: dict[str, Any] = {}
    with contextlib.suppress(ImportError):
        import diskcache

        cache = diskcache.Cache(str(folder / "diskcache"))
        with cache.transact():
            for key, text in zip(keys, texts, strict=True):
                cache[key] = text
        found["diskcache"] = cache.__getitem__
    with contextlib.suppress(ImportError):
        import lmdb

        env = lmdb.open(str(folder / "lmdb"), map_size=1 << 30, sync=False)
        with env.begin(write=True) as transaction:
            for key, text in zip(keys, texts, strict=True):
                transaction.put(key.encode(), text)

        def get(key: str) -> bytes:
            with env.begin() as transaction:
                value: bytes = transaction.get(key.encode())
                return value

        found["LMDB"] = get
    for name in {"diskcache", "LMDB"} - set(found):
        missing(name.lower())
    return found


def main() -> None:
    options = arguments(__doc__ or "")
    nr = VALUES // options.scale
    rng = random.Random(4)
    keys = [f"key/{number:08}" for number in range(nr)]
    texts = [json_value(rng) for _ in range(nr)]
    order = rng.sample(keys, nr)
    with tempfile.TemporaryDirectory() as name, mempools.Arena.anonymous("256M") as arena:
        folder = Path(name)
        recompress(options, arena, keys, texts)
        memory = arena.store("memory", codec="none")
        memory.update(zip(keys, texts, strict=True))
        spilled = arena.store("spilled", codec="none")
        spilled.spill_to(folder / "cold")
        spilled.update(zip(keys, texts, strict=True))
        begun = time.perf_counter()
        found = spilled.spill()
        seconds = time.perf_counter() - begun
        report(
            "Spilling, one process",
            {"values of 4 KiB": [found.spilled_bytes / seconds / 1e6]},
            options,
            unit="MB a second",
        )
        cases: dict[str, Any] = {"memory": memory.__getitem__, "spilled": getter(spilled)}
        cases |= rivals(folder, keys, texts)
        report(
            "get of a 4 KiB value, the page cache warm",
            measure({name: each(get, order) for name, get in cases.items()}, max(3, options.rounds // 3)),
            options,
            unit="us a get",
        )
        assert spilled.stats().spilled_count == nr
        assert dict(spilled) == dict(zip(keys, texts, strict=True))


def getter(store: mempools.Store) -> Any:
    """A get that leaves the value in the file, as where there is no room."""
    from mempools import spilling

    def get(key: str) -> bytes:
        _, nbytes, raw = store._index.get(key)
        return spilling.fetch(store, key, nbytes, raw, promote=False)[2]

    return get


if __name__ == "__main__":
    main()
