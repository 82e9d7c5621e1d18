"""L0: which CPU this thread runs on: glibc's rseq area where it is registered, else the system call."""

import cython

if not cython.compiled:
    raise ImportError("mempools.machine.cpu is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.mempools.machine.atomics import this_cpu


def current_cpu() -> int:
    """The number of the CPU that ran this call; the thread may have moved since. Legal in every context, C signal
    handlers included for `this_cpu` itself."""
    return this_cpu()
