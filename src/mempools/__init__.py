"""Pool allocators of the Linux kernel for Python programs whose threads and processes share memory."""

from mempools.objects.atomic import AtomicU64

__all__ = ["AtomicU64"]
