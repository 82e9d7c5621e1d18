"""L5: the pools of an arena, by name: each made if absent."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mempools import sizes
from mempools.layout.mapping import Mapping
from mempools.objects.algorithms import granule_shift
from mempools.objects.blockmempool import BlockMempool, element_footprint, known_mempool, open_mempool
from mempools.objects.genpoolobject import GenPool, open_genpool
from mempools.objects.percpuobject import PerCpu, open_percpu
from mempools.objects.zspoolobject import ZsPool, open_zspool

if TYPE_CHECKING:
    from mempools.percpupool import PerCpuPool
    from mempools.store import Store
    from mempools.zram import Zram


class ArenaPools:
    """Base of Arena."""

    _received_pools: dict[str, GenPool]
    _received_mempools: dict[str, BlockMempool]
    _received_percpu: dict[str, PerCpu]

    @property
    def _mapping(self) -> Mapping:
        raise NotImplementedError

    def genpool(
        self, name: str, *, granule: int = 64, size: int | str | None = None, shares: int = 256, foreign: bool = False
    ) -> GenPool:
        """The GenPool `name`, made if absent, else as it is: LayoutMismatch if its configuration is another.

        `granule`: bytes, a power of two, at least 8. `size`: a fixed share of the arena, taken now; without it the
        pool grows on demand. `shares`: how many of its blocks may be pickled at a time (128 bytes each). `foreign`:
        the blocks lie outside the arena (`GenPool.add` with bare addresses), only the map of owners is in it.
        Exhausted if there is no room. May wait for another process that makes a pool; not for signal handlers.
        Thread-safe, process-safe, not lock-free."""
        shift = granule_shift(granule)
        if granule < 8 and not foreign:
            raise ValueError(f"granule {granule}: at least 8 bytes in an arena")
        limit = 0 if size is None else sizes.parse(size)
        if size is not None and limit < granule:
            raise ValueError(f"size {size!r}: at least one granule ({granule} bytes) is needed")
        if not 0 <= shares <= 1 << 20:
            raise ValueError(f"shares {shares}: 0 to 2**20")
        return open_genpool(self, self._mapping, name, shift, limit, shares, foreign)

    def mempool(
        self,
        name: str,
        *,
        nbytes: int | str,
        min_nr: int,
        size: int | str | None = None,
        backend: GenPool | str | None = None,
        shares: int = 256,
        fifo: bool = False,
        poison: bool | None = None,
        repoll: float = 0.5,
    ) -> BlockMempool:
        """The Mempool `name` of elements of `nbytes` bytes, made if absent, with `min_nr` of them in reserve.

        Elements are blocks of the pool's own memory, which grows on demand up to as many as `size` bytes hold, if that is
        given; or of the GenPool `backend`, an object or a name. `shares`: how many of them may be pickled at a time. `fifo`: who
        waits longest is served first, and nobody overtakes. `poison`: elements in the reserve are filled with a pattern that is
        looked at when they are taken; None: if the environment's MEMPOOLS_DEBUG names "poison". `repoll`: seconds after which a
        waiter asks the backend again. LayoutMismatch if there is one of another configuration; a reserve that was resized since
        stays as it is. Exhausted if there is no room for the reserve. Thread-safe, process-safe, not lock-free."""
        element = sizes.parse(nbytes)
        if not 1 <= element <= 1 << 40:
            raise ValueError(f"nbytes {nbytes!r}: an element has 1 to 2**40 bytes")
        if not 0 <= min_nr <= 1 << 20:
            raise ValueError(f"min_nr {min_nr}: 0 to 2**20")
        if not 0 <= shares <= 1 << 20:
            raise ValueError(f"shares {shares}: 0 to 2**20")
        limit = 0 if size is None else sizes.parse(size)
        if size is not None and (backend is not None or limit < element * max(min_nr, 1)):
            raise ValueError(
                f"size {size!r}: at least the reserve ({element * max(min_nr, 1)} bytes), and not with a backend"
            )
        limit = limit // element * element_footprint(element)
        if isinstance(backend, str):
            backend = open_genpool(self, self._mapping, backend, 0, 0, 0, None)
        elif backend is not None and backend.mapping is not self._mapping:
            raise ValueError(f"{backend!r} is not in {self!r}")
        if poison is None:
            poison = "poison" in os.environ.get("MEMPOOLS_DEBUG", "").split(",")
        return open_mempool(self, self._mapping, name, element, min_nr, limit, backend, shares, fifo, poison, repoll)

    def percpu(
        self,
        name: str,
        *,
        units: str | None = None,
        nr_units: int | None = None,
        unit_nbytes: int | str | None = None,
        shares: int = 256,
        balance: bool = True,
        quota: Any = None,
    ) -> PerCpu:
        """The PerCpu pool `name`, made if absent, else as it is: LayoutMismatch if its configuration is another.

        `units`: "cpu" (the default: a copy of each area for each possible CPU, or for `nr_units` of them, at least 2) or
        "process" (one for each of the arena's 120 process slots). `unit_nbytes`: bytes of a unit, whole pages, at most 256
        KiB; the largest area there can be, 32 KiB by default. A chunk takes `nr_units` times as much of the arena, and the
        first is taken now; memory from the system only as areas need it. `shares`: how many of its areas may be pickled at a
        time (128 bytes each). `balance`: a thread keeps pages ready for requests with wait=False when this process makes
        such, and gives back what its frees leave; else only `maintain()` does. `quota`: whom this process's areas are charged
        to, a `Quota` or any object with `charge(nbytes)`, which raises to refuse, and `uncharge(nbytes)`. Exhausted if there
        is no room. May wait for another process that makes a pool; not for signal handlers. Thread-safe, process-safe, not
        lock-free."""
        if units not in (None, "cpu", "process"):
            raise ValueError(f'units {units!r}: "cpu" or "process"')
        if units == "process" and nr_units is not None:
            raise ValueError("nr_units is for units of CPUs: there are as many units of processes as process slots")
        if nr_units is not None and not 2 <= nr_units <= 4096:
            raise ValueError(f"nr_units {nr_units}: 2 to 4096")
        nbytes = 0 if unit_nbytes is None else sizes.parse(unit_nbytes)
        if unit_nbytes is not None and (nbytes % 4096 or not 4096 <= nbytes <= 256 << 10):
            raise ValueError(f"unit_nbytes {unit_nbytes!r}: whole pages of 4096 bytes, at most 256 KiB")
        if not 0 <= shares <= 1 << 20:
            raise ValueError(f"shares {shares}: 0 to 2**20")
        return open_percpu(self, self._mapping, name, units, nr_units or 0, nbytes, shares, balance, quota)

    def percpu_pool(
        self,
        name: str,
        *,
        nbytes: int | str,
        low: int,
        high: int,
        percpu: PerCpu | str | None = None,
        reclaim: Callable[[], Any] | None = None,
    ) -> "PerCpuPool":
        """The PerCpuPool `name` of areas of `nbytes` bytes, made if absent, with `high` of them in reserve.

        The areas are of the PerCpu `percpu`, an object or a name, made if absent; without it of the one called NAME.percpu.
        `low`: the level below which allocations by the object that this returns start a refill. `reclaim()` is called by whoever
        refills when the arena has no room, as a callback of the pool, by several threads at once maybe: true if it has made
        some. A new reserve is filled now, as far as there is room; by a worker where that may not be waited for.
        LayoutMismatch if there is one of another configuration; one that was resized since stays as it is. Exhausted if there
        is no room for the pool itself. May wait for another process that makes a pool; not for signal handlers. Thread-safe,
        process-safe, not lock-free."""
        from mempools.percpupool import open_percpu_pool

        if percpu is None:
            percpu = f"{name}.percpu"
        if isinstance(percpu, str):
            percpu = self.percpu(percpu)
        return open_percpu_pool(self, name, sizes.parse(nbytes), low, high, percpu, reclaim)

    def zspool(self, name: str, *, chain: int | None = None, size: int | str | None = None) -> ZsPool:
        """The ZsPool `name`, made if absent, else as it is: LayoutMismatch if its configuration is another.

        `chain`: pages of a zspage of objects of less than a page, at most, 4 to 16; 8 by default, as in the kernel. `size`: a
        fixed share of the arena, taken now; without it the pool grows on demand. Exhausted if there is no room. May wait for
        another process that makes a pool; not for signal handlers. Thread-safe, process-safe, not lock-free."""
        if chain is not None and not 4 <= chain <= 16:
            raise ValueError(f"chain {chain}: 4 to 16 pages")
        limit = 0 if size is None else sizes.parse(size)
        if size is not None and limit < 65536:
            raise ValueError(f"size {size!r}: at least 64 KiB, for the largest zspage")
        return open_zspool(self, self._mapping, name, chain, limit)

    def store(
        self,
        name: str,
        *,
        codec: str | None = None,
        size: int | str | None = None,
        dictionary: bool = False,
        limit: int | str | None = None,
        evict: str | None = None,
        ttl: float | None = None,
    ) -> "Store":
        """The Store `name`, made if absent.

        `codec`: "none", "lz4", "zstd", "zstd:LEVEL" or a registered one; without it the store's own, and for a new store
        lz4 if its package is installed. `size`: a fixed share of the arena; without it the store grows on demand.
        `dictionary`: as soon as 1000 values have been put through the object that this returns, a thread trains a dictionary
        (`Store.train`), unless the store has one by then; PoolError if the codec is not zstd. No put waits for it.

        `limit`: bytes that its values, as stored, never pass, keys and the rest not counted. `evict`: which entries go when a
        value would pass the limit, or finds no room: "none" (they stay, and the put is Exhausted; so where nothing is said),
        "lru" (those that were not read for long), "lfu" (read seldom), "ttl" (that expire soon; others stay); of those
        that are looked at, expired ones first. Both are the store's for ever, and taken as they are by who leaves them out.
        `ttl`: seconds that values which this object puts have to live, unless `put` says otherwise.

        LayoutMismatch if the store has another codec, size, limit or eviction. The rest as for `genpool`. Thread-safe,
        process-safe, not lock-free."""
        from mempools.store import Store, open_store

        arena: Any = self  # whoever has pools is an Arena
        return open_store(Store, arena, name, codec, size, dictionary, limit, evict, ttl)

    def zram(
        self,
        name: str,
        disksize: int | str | None = None,
        *,
        codec: str | None = None,
        recompress: Sequence[str] = (),
        mem_limit: int | str | None = None,
        strict: bool | None = None,
        backing: "str | os.PathLike[str] | None" = None,
        compressed_writeback: bool | None = None,
        chain: int | None = None,
        size: int | str | None = None,
    ) -> "Zram":
        """The Zram `name`, made if absent; without `disksize`: as it is, KeyError if there is none.

        `disksize`: bytes, rounded up to pages of 4096; 16 bytes of the arena a page are taken now. `codec`: as for `store`, for
        what is written; `recompress`: up to three more, of the priorities 1 to 3. `mem_limit`: bytes that the pages may take,
        which can be changed later; `strict`: they never take more, else the kernel's way. `backing`: path of a file or block
        device to which pages can be written back, of the size that it has now, which every process that reads them can open;
        `compressed_writeback`: as they are stored. `chain`, `size`: as for `zspool`.
        LayoutMismatch if there is one of another configuration; Exhausted if there is no room. May wait for another process that
        makes a pool; not for signal handlers. Thread-safe, process-safe, not lock-free."""
        from mempools.zramopening import open_device

        return open_device(
            self, name, disksize, codec, recompress, mem_limit, strict, backing, compressed_writeback, chain, size
        )

    # ---- for what arrives

    def _known_genpool(self, name: str) -> GenPool:
        """For blocks that arrive: the pool of that name, opened once."""
        pool = self._received_pools.get(name)
        if pool is None:
            pool = self._received_pools[name] = open_genpool(self, self._mapping, name, 0, 0, 0, None)
        return pool

    def _known_mempool(self, name: str) -> BlockMempool:
        """For elements that arrive: the pool of that name, opened once."""
        pool = self._received_mempools.get(name)
        if pool is None:
            pool = self._received_mempools[name] = known_mempool(self, self._mapping, name)
        return pool

    def _known_percpu(self, name: str) -> PerCpu:
        """The same for areas."""
        pool = self._received_percpu.get(name)
        if pool is None:
            pool = self._received_percpu[name] = open_percpu(self, self._mapping, name, None, 0, 0, None, True, None)
        return pool
