"""L6: per-CPU areas as numpy arrays."""

from typing import Any

from mempools.objects.area import Area, make_arrays_with


def array_of(area: Area, dtype: Any) -> Any:
    """The area as an array of shape (units, items): see Area.array."""
    import numpy

    return numpy.asarray(area).view(dtype)


make_arrays_with(array_of)
