from typing import Any

from mempools.objects.infos import PoolInfo
from mempools.objects.poolobject import KIND_NAMES as KIND_NAMES

def problems_of(mapping: Any) -> list[str]: ...
def pools_of(mapping: Any) -> list[PoolInfo]: ...
