"""L4: Python-visible owners of what the pools hand out."""
