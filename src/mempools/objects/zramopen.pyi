from typing import Any

from mempools.layout.mapping import Mapping
from mempools.objects.zramobject import ZramPages

def open_zram(arena: object, mapping: Mapping, name: str, config: dict[str, Any] | None) -> ZramPages: ...
