"""Draws the failing execution that reference/reading-a-failure.md explains: `python docs/figures/draw.py` writes handoff.txt
and handoff.svg beside this file. The trace is small enough to be written by hand."""

from pathlib import Path

from mempools.check import render, svg
from mempools.check.trace import INITIAL, Barrier, Kind, Order, Remedy, Step, Trace

HERE = Path(__file__).parent

HANDOFF = Trace(
    scenario="handoff.block",
    cpus=("producer", "consumer"),
    initial={"limit": 8},
    steps=(
        Step(index=0, cpu=1, kind=Kind.START),
        Step(
            index=1, cpu=1, kind=Kind.READ, site="handoff.limit", location="limit", read=8,
            reads_from=INITIAL, newest=INITIAL,
        ),
        Step(index=2, cpu=0, kind=Kind.WRITE, site="handoff.fill", location="data", wrote=42),
        Step(index=3, cpu=0, kind=Kind.WRITE, site="R:handoff.publish", location="flag", wrote=1, was="store_release"),
        Step(
            index=4, cpu=1, kind=Kind.READ, order=Order.ACQUIRE, site="A:handoff.poll", location="flag", read=1,
            reads_from=3, newest=3,
        ),
        Step(index=5, cpu=1, kind=Kind.READ, site="handoff.use", location="data", read=0, reads_from=INITIAL, newest=2),
    ),
    violation="the consumer saw the flag without the data: 0, not 42",
    culprit=5,
    replay="100000101110",
    mutation="R:handoff.publish: relax",
    remedies=(Remedy((Barrier("store_release", 3),), forbids=5),),
)  # fmt: skip

FIGURES = {
    "handoff.txt": render.draw(HANDOFF) + "\n",
    "handoff.svg": svg.draw(HANDOFF),
}

if __name__ == "__main__":
    for name, text in FIGURES.items():
        (HERE / name).write_text(text)
