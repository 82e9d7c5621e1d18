"""L4: the Python-visible owners: blocks, handles, views, atomic words."""
