import os

from mempools.machine import processes


def test_self_is_not_gone():
    pid, start, space = processes.identity()
    assert pid == os.getpid() and start > 0 and space > 0
    assert not processes.gone(pid, start, space)
    assert processes.gone(pid, start + 1, space)  # the number was given to another


def test_a_process_that_ended_is_gone_zombie_or_not():
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        start = processes.identity()[1]
        os.write(write, start.to_bytes(8, "little"))
        os._exit(0)
    start = int.from_bytes(os.read(read, 8), "little")
    os.close(read)
    os.close(write)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    space = processes.identity()[2]
    assert processes.gone(pid, start, space)  # a zombie
    os.waitpid(pid, 0)
    assert processes.gone(pid, start, space)


def test_what_cannot_be_told_is_not_gone():
    pid, start, space = processes.identity()
    assert not processes.gone(pid, start + 1, space + 1)  # another name space
    assert not processes.gone(pid, start + 1, 0)
    for nonsense in (0, 1 << 31, (1 << 64) - 1):
        assert not processes.gone(nonsense, start, space)
