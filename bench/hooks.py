"""What the checker's hook costs when it is null: the same loop over mp_machine.h, compiled with and without it.

The loop does what an alloc and a free do to the owner map: read a word, claim it with a compare-and-swap, read it, and
release it with another.
"""

import ctypes
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from bench.harness import ROOT, Case, arguments, measure, report

PAIRS = 5_000_000

SOURCE = """
#include "mp_machine.h"
#include <time.h>
mp_step_fn *slot = &mp_step; /* reachable from outside, as in a module: the compiler cannot know it is null */
static uint64_t words[8];

double pairs(uint64_t nr) {
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (uint64_t i = 0; i < nr; i++) {
        uint64_t *word = &words[i & 7];
        uint64_t old = mp_read_once(word, "hooks.claim");
        if (mp_cmpxchg_acquire(word, old, old | 1, "A:hooks.claim") != old) return -1;
        old = mp_read_once(word, "hooks.release");
        if (mp_cmpxchg_release(word, old, old & ~(uint64_t)1, "R:hooks.release") != old) return -1;
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    return ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / nr;
}
"""


def build(folder: Path, name: str, *flags: str) -> Case:
    source, library = folder / "pairs.c", folder / f"{name}.so"
    source.write_text(SOURCE)
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    include = f"-I{ROOT / 'src/mempools/machine'}"
    subprocess.run(
        [compiler, "-O3", "-fPIC", "-shared", "-std=gnu11", include, *flags, source, "-o", library], check=True
    )
    pairs = ctypes.CDLL(str(library)).pairs
    pairs.restype, pairs.argtypes = ctypes.c_double, [ctypes.c_uint64]
    return lambda: float(pairs(PAIRS))


def main() -> None:
    options = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as folder:
        cases = {
            "without hooks": build(Path(folder), "without", "-DMP_HOOK()=NULL"),
            "with null hooks": build(Path(folder), "with"),
        }
        report("Null hooks: claim and release of one word, a pair", measure(cases, options.rounds), options)


if __name__ == "__main__":
    sys.exit(main())
