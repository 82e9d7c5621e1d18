# Nothing here is for other modules: they cimport machine.atomics.this_cpu.
