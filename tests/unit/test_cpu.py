import os
import threading

from mempools.machine.cpu import current_cpu


def test_a_pinned_thread_is_where_it_was_pinned():
    found = {}

    def pinned(cpu):
        os.sched_setaffinity(0, {cpu})  # this thread only
        found[cpu] = {current_cpu() for _ in range(100)}

    for cpu in os.sched_getaffinity(0):
        thread = threading.Thread(target=pinned, args=(cpu,))
        thread.start()
        thread.join()
    assert found == {cpu: {cpu} for cpu in os.sched_getaffinity(0)}
