"""L3: the pools' algorithms as functions without the GIL, on process-local references to shared words."""
