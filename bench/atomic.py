"""AtomicU64: one call from Python, beside the standard library's way to count across processes."""

import multiprocessing

from bench.harness import arguments, measure, report, timed
from mempools.objects.atomic import AtomicU64

CALLS = 200_000


def main() -> None:
    options = arguments(__doc__ or "")
    calls = CALLS // options.scale
    word = AtomicU64(bytearray(8))
    value = multiprocessing.Value("Q")

    cases = {
        "AtomicU64.add": timed("word.add(1)", calls, word=word),
        "AtomicU64.load": timed("word.load()", calls, word=word),
        "AtomicU64.store": timed("word.store(1)", calls, word=word),
        "AtomicU64.cas": timed("word.cas(1, 1)", calls, word=word),
        "multiprocessing.Value += 1": timed("with value.get_lock(): value.value += 1", calls // 10, value=value),
    }
    report("AtomicU64, one call", measure(cases, options.rounds), options)


if __name__ == "__main__":
    main()
