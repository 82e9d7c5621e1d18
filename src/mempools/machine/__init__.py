"""L0: the machine: atomics, fences, futex, mappings; the only layer that names any of them."""
