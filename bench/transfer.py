"""An array of 1 MiB from one process to another: the sender writes it, the receiver reads it, a byte comes back.

On one CPU the cost is the CPU time of both processes; on two it is wall time, wake-ups included."""

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import mempools
from bench.harness import Case, Target, arguments, measure, report

NBYTES = 1 << 20
SLOTS = 4
fork = multiprocessing.get_context("fork")


class Way:
    """A way to send: `send` in the sender, `receive` in the receiver, which copies the bytes into `target`."""

    def __init__(self) -> None:
        self.here, self.there = fork.Pipe()

    def send(self, array: bytearray) -> None:
        raise NotImplementedError

    def receive(self, target: memoryview) -> None:
        raise NotImplementedError


class BlockByPipe(Way):
    def __init__(self, arena: mempools.Arena) -> None:
        super().__init__()
        self.pool = arena.genpool("frames", granule=4096)

    def send(self, array: bytearray) -> None:
        block = self.pool.alloc(NBYTES)
        with memoryview(block) as view:
            view[:] = array
        self.put(block)

    def receive(self, target: memoryview) -> None:
        block = self.get()
        with memoryview(block) as view:
            target[:] = view
        block.free()

    def put(self, block: mempools.Block) -> None:
        self.here.send(block)

    def get(self) -> Any:
        return self.there.recv()


class BlockByQueue(BlockByPipe):
    def __init__(self, arena: mempools.Arena) -> None:
        super().__init__(arena)
        self.queue: Any = fork.SimpleQueue()

    def put(self, block: mempools.Block) -> None:
        self.queue.put(block)

    def get(self) -> Any:
        return self.queue.get()


class Ring(Way):
    """By hand: one SharedMemory of some slots, the number of the slot by pipe. The array's bytes are as safe as the
    program is right: nobody checks that a slot is free."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = SharedMemory(create=True, size=SLOTS * NBYTES)
        self.memory.buf[:] = bytes(SLOTS * NBYTES)
        self.memory.unlink()
        self.slot = 0

    def send(self, array: bytearray) -> None:
        self.slot = (self.slot + 1) % SLOTS
        self.memory.buf[self.slot * NBYTES : (self.slot + 1) * NBYTES] = array
        self.here.send_bytes(bytes([self.slot]))

    def receive(self, target: memoryview) -> None:
        slot = self.there.recv_bytes()[0]
        target[:] = self.memory.buf[slot * NBYTES : (slot + 1) * NBYTES]


class SharedMemoryEach(Way):
    def send(self, array: bytearray) -> None:
        memory = SharedMemory(create=True, size=NBYTES)
        memory.buf[:NBYTES] = array
        memory.close()
        self.here.send(memory.name)

    def receive(self, target: memoryview) -> None:
        memory = SharedMemory(self.there.recv())
        target[:] = memory.buf[:NBYTES]
        memory.close()
        memory.unlink()


class QueueOfBytes(Way):
    def __init__(self) -> None:
        super().__init__()
        self.queue: Any = fork.Queue()

    def send(self, array: bytearray) -> None:
        self.queue.put(bytes(array))

    def receive(self, target: memoryview) -> None:
        target[:] = self.queue.get()


class PipeOfBytes(Way):
    def send(self, array: bytearray) -> None:
        self.here.send_bytes(array)

    def receive(self, target: memoryview) -> None:
        self.there.recv_bytes_into(target)


def receiver(ways: list[Way], commands: Connection, cpu: int) -> None:
    """Receives as many arrays as it is told, by the way it is told."""
    os.sched_setaffinity(0, {cpu})
    target = memoryview(bytearray(NBYTES))
    while True:
        index, count = commands.recv()
        if count == 0:
            os.sched_setaffinity(0, {index})
            commands.send_bytes(b"1")
        for _ in range(count):
            ways[index].receive(target)
            commands.send_bytes(b"1")


def cpu_time_ns(pid: int) -> int:
    """CPU time of another process, by its clock (see clock_getcpuclockid(3))."""
    return time.clock_gettime_ns(~pid << 3 | 2)


def main() -> None:
    options = arguments(__doc__ or "")
    count = 200 // options.scale
    cpus = sorted(os.sched_getaffinity(0))[:2]
    arena = mempools.Arena.anonymous("64M", prefault=True)
    ways: dict[str, Way] = {
        "hand-made ring of SharedMemory": Ring(),
        "Block through a Pipe": BlockByPipe(arena),
        "Block through a Queue": BlockByQueue(arena),
        "bytes through a Pipe": PipeOfBytes(),
        "SharedMemory per array": SharedMemoryEach(),
        "bytes through multiprocessing.Queue": QueueOfBytes(),
    }
    commands, there = fork.Pipe()
    child = fork.Process(target=receiver, args=(list(ways.values()), there, cpus[0]), daemon=True)
    child.start()
    os.sched_setaffinity(0, {cpus[0]})
    array = bytearray(os.urandom(NBYTES))
    pid = child.pid or 0

    def spent() -> int:
        return time.process_time_ns() + cpu_time_ns(pid)

    def case(index: int, way: Way, clock: Callable[[], int]) -> Case:
        def run() -> float:
            commands.send((index, count))
            before = clock()
            for _ in range(count):
                way.send(array)
                commands.recv_bytes()
            return (clock() - before) / count / 1000

        return run

    ours = "Block through a Pipe"
    targets = [
        Target(ours, 1, of="hand-made ring of SharedMemory"),
        Target(ours, 1 / 6, of="SharedMemory per array"),
        Target(ours, 1 / 15, of="bytes through multiprocessing.Queue"),
    ]
    for cpu, title, clock in (
        (cpus[0], "1 MiB from process to process, both on one CPU (CPU time of both)", spent),
        (cpus[-1], "1 MiB from process to process, on two CPUs (wall time)", time.monotonic_ns),
    ):
        commands.send((cpu, 0))
        commands.recv_bytes()
        cases = {name: case(index, way, clock) for index, (name, way) in enumerate(ways.items())}
        report(title, measure(cases, options.rounds), options, targets, unit="us")
    child.kill()
    child.join()


if __name__ == "__main__":
    main()
