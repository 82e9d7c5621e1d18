"""Store: small JSON values with and without a trained zstd dictionary: bytes a value, put and get; what training takes."""

import json
import random
import time
from typing import Any

import mempools
from bench.harness import arguments, measure, report
from bench.store import WORDS, each

VALUES = 10_000
SAMPLES = 5_000
arena = mempools.Arena.anonymous("256M")


def record(rng: random.Random, nbytes: int) -> bytes:
    """An object as a web service keeps it for a user, of about nbytes; the comments fill it up."""
    row: dict[str, Any] = {
        "id": rng.getrandbits(30),
        "user": f"{rng.choice(WORDS)}.{rng.choice(WORDS)}@example.org",
        "score": rng.randrange(500),
        "active": rng.random() < 0.5,
        "tags": rng.sample(WORDS, 2),
        "created": f"2026-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}T12:{rng.randrange(60):02}:00Z",
        "address": {"street": f"{rng.choice(WORDS)} {rng.randrange(200)}", "city": rng.choice(WORDS)},
        "comments": [],
    }
    while len(text := json.dumps(row)) < nbytes - 50:
        row["comments"].append({"by": rng.getrandbits(20), "text": " ".join(rng.choices(WORDS, k=rng.randint(2, 9)))})
    return text.encode()


def compare(options: Any, nbytes: int) -> None:
    rng = random.Random(nbytes)
    nr = VALUES // options.scale
    keys = [f"user/{number:08}" for number in range(nr)]
    texts = [record(rng, nbytes) for _ in range(nr)]
    samples = [record(rng, nbytes) for _ in range(SAMPLES // options.scale)]  # none of the values that are measured
    order = rng.sample(keys, nr)
    stores = {
        name: arena.store(f"{name} {nbytes}", codec=name.partition(" ")[0], size=nr * (nbytes + 192) + (1 << 20))
        for name in ("lz4", "zstd:3", "zstd:3 with a dictionary", "zstd:19", "zstd:19 with a dictionary")
    }
    took: dict[str, list[float]] = {}
    for name, store in stores.items():
        if name.endswith("dictionary"):
            begun = time.thread_time_ns()
            store.train(samples)
            took[f"{name}, training"] = [(time.thread_time_ns() - begun) / 1e6]
    rounds = max(3, options.rounds // 3)
    puts = {name: each(store.__setitem__, keys, texts) for name, store in stores.items()}
    title = f"JSON values of {sum(map(len, texts)) / nr:.0f} bytes, {nr} of them"
    report(f"{title}: put", measure(puts, rounds), options, unit="us a put")
    gets = {name: each(store.__getitem__, order) for name, store in stores.items()}
    report(f"{title}: get", measure(gets, rounds), options, unit="us a get")
    found = {name: store.stats() for name, store in stores.items()}
    stored = {name: [stats.stored_bytes / nr] for name, stats in found.items()}
    report(f"{title}: stored", stored, options, unit="bytes a value")
    report(
        f"{title}: memory",
        {name: [stats.memory_bytes / nr] for name, stats in found.items()},
        options,
        unit="bytes a value",
    )
    report(f"Training on {len(samples)} samples of the same kind", took, options, unit="ms")
    assert all(store[key] == text for store in stores.values() for key, text in zip(keys, texts, strict=True))
    for store in stores.values():
        store.destroy()


def main() -> None:
    options = arguments(__doc__ or "")
    for nbytes in (256, 1024):
        compare(options, nbytes)


if __name__ == "__main__":
    main()
