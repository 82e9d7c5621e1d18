"""GenPool: what a pair costs against the size of the pool, and against how full it is. Writes two plots to
docs/_static/ with --plot.

The pools manage bare address ranges that are never touched, 64 bytes a granule. To make a pool n % full, all of it is
taken and a random (100 - n) % is freed: holes of one granule, mostly. Then each step frees a random block of 64 bytes
and allocates one, which finds another hole: churn. A pair frees what it has just allocated, as most programs do.
"""

import time
from pathlib import Path
from typing import Any

import mempools
from bench.harness import ROOT, Case, Samples, Target, arguments, called, measure, report
from mempools.objects import loops

GRANULE = 64
MIB = 1 << 20
STEPS = 50_000
SIZES = [MIB << (2 * step) for step in range(7)]  # 1 MiB to 4 GiB
FULLNESS = [0.0, 10.0, 50.0, 90.0, 99.0, 99.9]
VICTIMS = (
    1 << 16
)  # blocks that churn chooses from: all over the pool, yet few enough for their list to stay in the cache

WHAT = {"pair": "pair: allocate a block and free it", "churn": "churn: free a random block, allocate one"}


def filled(numpy: Any, nbytes: int, percent: float, seed: int) -> tuple[mempools.GenPool, Any]:
    """A pool of a bare range, so full, and a random sample of the blocks that are taken."""
    pool = mempools.GenPool((1 << 40, nbytes), granule=GRANULE)
    nr = nbytes // GRANULE
    taken = numpy.empty(nr, numpy.uint64)
    pool.alloc_bulk(nr, GRANULE, taken)
    random = numpy.random.default_rng(seed)
    random.shuffle(taken)
    keep = round(nr * percent / 100)
    pool.free_bulk(taken[keep:], GRANULE)
    return pool, taken[: min(keep, VICTIMS)].copy()


def churn(numpy: Any, pool: mempools.GenPool, blocks: Any, steps: int, seed: int) -> Case:
    random = numpy.random.default_rng(seed)

    def case() -> float:
        victims = random.integers(0, len(blocks), steps, dtype=numpy.uint64)
        before = time.thread_time_ns()
        loops.genpool_churn(pool, GRANULE, blocks, victims)
        return (time.thread_time_ns() - before) / steps

    return case


def text(nbytes: int) -> str:
    return f"{nbytes // MIB} MiB" if nbytes < 1 << 30 else f"{nbytes >> 30} GiB"


def plot(
    pyplot: Any, file: Path, samples: Samples, at: dict[str, list[float]], label: str, title: str, ticks: list[str]
) -> None:
    """One line for each series; the medians, with the middle half of the rounds as a band."""
    figure, axes = pyplot.subplots(figsize=(7.2, 4.2), constrained_layout=True)
    for series, places in at.items():
        rows = [sorted(samples[f"{series}, {tick}"]) for tick in ticks[-len(places) :]]
        middle = [row[len(row) // 2] for row in rows]
        (line,) = axes.plot(places, middle, marker="o", label=WHAT[series])
        axes.fill_between(
            places,
            [row[len(row) // 4] for row in rows],
            [row[-1 - len(row) // 4] for row in rows],
            color=line.get_color(),
            alpha=0.15,
            linewidth=0,
        )
        for place, value in zip(places, middle, strict=True):
            axes.annotate(
                f"{value:.0f}", (place, value), textcoords="offset points", xytext=(0, 7), ha="center", fontsize=8
            )
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_xlabel(label)
    axes.set_ylabel("CPU time of one step (ns)")
    axes.set_ylim(bottom=0, top=1.15 * axes.get_ylim()[1])
    axes.set_title(title, fontsize=11)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, loc="upper left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=130)
    pyplot.close(figure)


def main() -> None:
    options = arguments(__doc__ or "", plot=True)
    try:
        import numpy
    except ImportError:
        raise SystemExit("numpy is not installed (dependency group `bench`)") from None
    steps = STEPS // options.scale
    sizes = SIZES[:-2] if options.quick else SIZES
    gib = (64 * MIB) if options.quick else 1 << 30

    cases: dict[str, Case] = {}
    for nbytes in sizes:
        pool, blocks = filled(numpy, nbytes, 90, seed=nbytes)
        cases[f"pair, {text(nbytes)}"] = called(loops.genpool_pairs, pool.handle(), GRANULE, steps, per=steps)
        cases[f"churn, {text(nbytes)}"] = churn(numpy, pool, blocks, steps, seed=1)
    by_size = measure(cases, options.rounds)
    report("GenPool against size, 90 % full: one step", by_size, options)

    cases.clear()
    for percent in FULLNESS:
        pool, blocks = filled(numpy, gib, percent, seed=round(percent * 10))
        cases[f"pair, {percent:g} %"] = called(loops.genpool_pairs, pool.handle(), GRANULE, steps, per=steps)
        if percent:
            cases[f"churn, {percent:g} %"] = churn(numpy, pool, blocks, steps, seed=1)
    by_fullness = measure(cases, options.rounds)
    targets = [Target("pair, 99 %", 3, of="pair, 0 %"), Target("churn, 99 %", 3, of="churn, 10 %")]
    report(f"GenPool of {text(gib)} against fullness: one step", by_fullness, options, targets)

    if options.plot:
        try:
            from matplotlib import pyplot, use
        except ImportError:
            raise SystemExit("matplotlib is not installed (dependency group `bench`)") from None
        use("agg")
        folder = ROOT / "docs" / "_static"
        ticks = [text(nbytes) for nbytes in sizes]
        places = [float(place) for place in range(len(ticks))]
        plot(
            pyplot,
            folder / "genpool-size.png",
            by_size,
            {"pair": places, "churn": places},
            "size of the pool, 90 % full",
            "GenPool, blocks of 64 bytes: cost against the size of the pool",
            ticks,
        )
        ticks = [f"{percent:g} %" for percent in FULLNESS]
        places = [float(place) for place in range(len(ticks))]
        plot(
            pyplot,
            folder / "genpool-fullness.png",
            by_fullness,
            {"pair": places, "churn": places[1:]},
            f"how much of {text(gib)} is taken, with holes at random",
            "GenPool, blocks of 64 bytes: cost against fullness",
            ticks,
        )


if __name__ == "__main__":
    main()
