"""Pool allocators of the Linux kernel for Python programs whose threads and processes share memory."""

from mempools import lockdep
from mempools.arena import Arena
from mempools.dictionaries import DictionaryInfo
from mempools.edges import arrays as _arrays  # noqa: F401  areas as numpy arrays
from mempools.errors import (
    BadSnapshot,
    Busy,
    Corrupt,
    Exhausted,
    LayoutMismatch,
    LockOrder,
    NotOwned,
    PoolError,
    StaleHandle,
    WaitForbidden,
    WouldBlock,
)
from mempools.leftovers import ArenaInfo, arenas, gc
from mempools.namespaces import Namespace
from mempools.objects.area import Area
from mempools.objects.atomic import AtomicU64
from mempools.objects.block import Block
from mempools.objects.contexts import in_noio, may_wait, noio
from mempools.objects.genpoolobject import GenPool
from mempools.objects.infos import (
    Maintained,
    MempoolStats,
    PerCpuChunkStats,
    PerCpuPoolStats,
    PerCpuStats,
    ZsClassInfo,
    ZsPoolStats,
)
from mempools.objects.mempoolobject import Mempool
from mempools.objects.percpucounter import PerCpuCounter
from mempools.objects.percpuobject import PerCpu
from mempools.objects.percpurefobject import PerCpuRef
from mempools.objects.percpuword import PerCpuWord
from mempools.objects.poison import PoisonWarning
from mempools.objects.poolobject import trace_allocations
from mempools.objects.sites import Allocation, allocations
from mempools.objects.zspoolobject import ZsPool
from mempools.objects.zsview import ZsView
from mempools.percpupool import PerCpuPool
from mempools.quota import Quota
from mempools.recompressing import RecompressResult
from mempools.spaces import NamespaceStats
from mempools.spilling import SpillResult
from mempools.store import Store
from mempools.storestats import StoreStats
from mempools.zram import Zram
from mempools.zramfile import ZramFile
from mempools.zramstats import ZramStats
from mempools.zramwork import RecompressInfo, WritebackInfo

__all__ = [
    "Allocation",
    "Area",
    "Arena",
    "ArenaInfo",
    "AtomicU64",
    "BadSnapshot",
    "Block",
    "Busy",
    "Corrupt",
    "DictionaryInfo",
    "Exhausted",
    "GenPool",
    "LayoutMismatch",
    "LockOrder",
    "Maintained",
    "Mempool",
    "MempoolStats",
    "Namespace",
    "NamespaceStats",
    "NotOwned",
    "PerCpu",
    "PerCpuChunkStats",
    "PerCpuCounter",
    "PerCpuPool",
    "PerCpuPoolStats",
    "PerCpuRef",
    "PerCpuStats",
    "PerCpuWord",
    "PoisonWarning",
    "PoolError",
    "Quota",
    "RecompressInfo",
    "RecompressResult",
    "SpillResult",
    "StaleHandle",
    "Store",
    "StoreStats",
    "WaitForbidden",
    "WouldBlock",
    "WritebackInfo",
    "Zram",
    "ZramFile",
    "ZramStats",
    "ZsClassInfo",
    "ZsPool",
    "ZsPoolStats",
    "ZsView",
    "allocations",
    "arenas",
    "gc",
    "in_noio",
    "lockdep",
    "may_wait",
    "noio",
    "trace_allocations",
]
