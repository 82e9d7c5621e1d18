"""L4: has a caller that may wait anything to fear from contexts.check_wait? That takes longer than an allocation, this not."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.restricted is compiled code: run `make build` in a checkout, or install the wheel"
    )

import sys

from cython.cimports.cpython.contextvars import get_value
from cython.cimports.mempools.objects.poolobject import watching

from mempools.objects import contexts

_scope_var = cython.declare(object, contexts.scope_var)
_running_loop = cython.declare(object, None)  # asyncio's function, once asyncio is there


@cython.cfunc
@cython.exceptval(-1, check=False)
def is_restricted() -> cython.bint:
    """Is the caller in a scope of contexts.py, or on an event loop's thread, or is every wait watched? Then ask check_wait."""
    global _running_loop
    if _running_loop is None:
        _running_loop = getattr(sys.modules.get("asyncio"), "_get_running_loop", None)
    return (
        watching
        or get_value(_scope_var, None) is not None
        or (_running_loop is not None and PyObject_CallNoArgs(_running_loop) is not None)
    )
