from collections.abc import Callable
from typing import Any, final

from mempools.layout.mapping import Mapping
from mempools.objects.area import Area
from mempools.objects.balancer import Balancer
from mempools.objects.infos import Maintained, PerCpuStats
from mempools.objects.percpucounter import PerCpuCounter
from mempools.objects.percpurefobject import PerCpuRef
from mempools.objects.poolobject import PoolObject

@final
class PerCpu(PoolObject):
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    @property
    def nr_units(self) -> int: ...
    @property
    def unit_nbytes(self) -> int: ...
    @property
    def units(self) -> str: ...
    @property
    def this_unit(self) -> int: ...
    def alloc(self, nbytes: int, *, align: int | None = None, wait: bool = True) -> Area: ...
    on_event: Callable[[str, int, int], object] | None
    @property
    def balancer(self) -> Balancer | None: ...
    @property
    def quota(self) -> Any: ...
    def maintain(self) -> Maintained: ...
    def stats(self) -> PerCpuStats: ...  # type: ignore[override]
    def check(self) -> None: ...
    def refcount(
        self,
        release: Callable[[], object] | None = None,
        *,
        atomic: bool = False,
        dead: bool = False,
        allow_reinit: bool = False,
        wait: bool = True,
    ) -> PerCpuRef: ...
    def counter(self, value: int = 0, *, batch: int | None = None, wait: bool = True) -> PerCpuCounter: ...
    def counters(
        self, nr: int, value: int = 0, *, batch: int | None = None, wait: bool = True
    ) -> list[PerCpuCounter]: ...

def open_percpu(
    arena: object,
    mapping: Mapping,
    name: str,
    units: str | None,
    nr_units: int,
    unit_nbytes: int,
    nr_shares: int | None,
    balance: bool,
    quota: object,
) -> PerCpu: ...
