"""Pool allocators of the Linux kernel for Python programs whose threads and processes share memory."""
