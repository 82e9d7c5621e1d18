"""Zram: what writing and reading a page takes, by codec and by content, and how much memory a page needs, beside a dict of
compressed pages in one process."""

import json
import os
import random
import sys
from typing import Any

import mempools
from bench.harness import Case, arguments, measure, report, timed
from mempools import codecs

PAGE = 4096
PAGES = 4096
CALLS = 20_000
CODECS = "lz4", "zstd:1", "zstd:3"
arena = mempools.Arena.anonymous("256M")


def json_page(seed: int) -> bytes:
    rng = random.Random(seed)
    rows = [
        {"id": rng.randrange(10**6), "name": f"user{rng.randrange(10**4)}", "score": rng.random()} for _ in range(80)
    ]
    return json.dumps(rows).encode()[:PAGE].ljust(PAGE)


def page(content: str, seed: int) -> bytes:
    if content == "one word":
        return seed.to_bytes(8, "little") * 512
    return json_page(seed) if content == "JSON" else random.Random(seed).randbytes(PAGE)


CONTENTS = "one word", "JSON", "random"


class DictOfPages:
    """What a program of one process would write: no limit, no statistics, no same-filled pages."""

    def __init__(self, codec: codecs.Codec) -> None:
        self.codec = codec
        self.pages: dict[int, bytes] = {}

    def write_page(self, index: int, data: bytes) -> None:
        self.pages[index] = bytes(self.codec.compress(data))

    def read_page(self, index: int) -> bytes:
        return self.codec.decompress(self.pages[index], PAGE)

    def nbytes(self) -> int:
        return sys.getsizeof(self.pages) + sum(map(sys.getsizeof, self.pages.values()))


# ---- calls


def latency(options: Any) -> None:
    number = CALLS // options.scale
    for content in CONTENTS:
        cases: dict[str, Case] = {}
        for name in CODECS:
            device: Any
            for what, device in (
                ("dict", DictOfPages(codecs.get(name))),
                ("Zram", arena.zram(f"{name} {content}", 16 * PAGE, codec=name)),
            ):
                data = page(content, 7)
                device.write_page(3, data)
                device.write_page(4, data)
                names = {"write": device.write_page, "read": device.read_page, "data": data}
                cases[f"{name}: {what}, write"] = timed("write(3, data)", number, **names)
                cases[f"{name}: {what}, read"] = timed("read(4)", number, **names)
        report(f"A page of {content}: write, read", measure(cases, options.rounds), options)


def parts(options: Any) -> None:
    number = CALLS // options.scale
    device = arena.zram("parts", 16 * PAGE, codec="lz4")
    device.write_page(0, page("JSON", 7))
    names = {"device": device, "data": os.urandom(100)}
    cases: dict[str, Case] = {
        "read 100 bytes": timed("device.read(500, 100)", number, **names),
        "write 100 bytes": timed("device.write(500, data)", number, **names),
        "discard a page": timed("device.discard(8192, 4096)", number, **names),
        "notify_free": timed("device.notify_free(2)", number, **names),
    }
    report("Parts of a page of JSON, lz4", measure(cases, options.rounds), options)


# ---- memory


def memory(options: Any) -> None:
    nr = PAGES // options.scale
    for content in CONTENTS:
        samples: dict[str, list[float]] = {}
        for name in CODECS:
            rival = DictOfPages(codecs.get(name))
            device = arena.zram("memory", nr * PAGE, codec=name)
            for index in range(nr):
                data = page(content, index + 1)
                rival.write_page(index, data)
                device.write_page(index, data)
            stats = device.stats()
            samples[f"{name}: dict, one process"] = [rival.nbytes() / nr]
            samples[f"{name}: Zram, with 16 bytes of table"] = [stats.mem_used_total / nr + 16]
            samples[f"{name}: the stored bytes"] = [stats.compr_data_size / nr]
            device.destroy(force=True)
        report(f"Memory: {nr} pages of {content}", samples, options, unit="bytes a page")


# ---- many pages


def work(options: Any) -> None:
    nr = PAGES // options.scale
    device = arena.zram("work", nr * PAGE, codec="lz4", recompress=["zstd:3"])
    for index in range(nr):
        device.write_page(index, page("JSON", index % 64))
    names = {"device": device}
    samples = measure(
        {
            "idle(), a page": lambda: timed("device.idle()", 1, **names)() / nr,
            "stats(), a page of the table": lambda: timed("device.stats()", 1, **names)() / nr,
        },
        options.rounds,
    )
    report(f"Looking at {nr} pages", samples, options)
    device.destroy(force=True)


def main() -> None:
    options = arguments(__doc__ or "")
    latency(options)
    parts(options)
    memory(options)
    work(options)


if __name__ == "__main__":
    main()
