"""The model checker: it drives the core through the hooks of L0. Beside the layers: nothing in the core imports it.

`mempools.check.check` explores a protocol of one's own, written in Python over words, pools and arenas.
"""

from mempools.check.bodies import assert_passes, check, draw, spin_until
from mempools.check.fibers import await_end
from mempools.check.trace import Outcome, Result, Trace
from mempools.check.word import Lock, Word, choose, cpu_relax, smp_mb, smp_rmb, smp_wmb

__all__ = [
    "Lock",
    "Outcome",
    "Result",
    "Trace",
    "Word",
    "assert_passes",
    "await_end",
    "check",
    "choose",
    "cpu_relax",
    "draw",
    "smp_mb",
    "smp_rmb",
    "smp_wmb",
    "spin_until",
]
