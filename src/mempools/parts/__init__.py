"""L1: algorithms on raw words of shared memory: statuses out, no Python objects, nothing raised."""
