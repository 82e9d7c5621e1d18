"""L6: the edges: command line and other libraries. Nothing below imports them."""
