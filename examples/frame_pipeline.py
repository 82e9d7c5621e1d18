"""A pipeline of frames through three processes that copies none of them, has eight at most, and goes on when its worker is
killed.

The producer waits for a free frame, the worker inverts it where it lies, the consumer looks at it. What travels is a
handle of some 200 bytes. The sockets keep messages whole, so that a process that is killed leaves none half read."""

import multiprocessing
import os
import pickle
import signal
import socket
from multiprocessing.connection import wait

import numpy

import mempools

SHAPE = 1024, 1024
NR_FRAMES = 60
context = multiprocessing.get_context("fork")


def send(channel, frame):
    channel.send(pickle.dumps(frame))


def receive(channel):
    return pickle.loads(channel.recv(4096))


def pixels(frame):
    return numpy.frombuffer(frame, numpy.uint8).reshape(SHAPE)


def produce(frames, out):
    for number in range(NR_FRAMES):
        with frames.alloc() as frame:  # waits while all are under way: this is what bounds memory
            pixels(frame)[:] = number
            send(out, frame)
    send(out, None)
    signal.pause()  # a frame is its sender's until it is received: who sends stays


def work(inbox, out, dies_at):
    while (frame := receive(inbox)) is not None:
        with frame:
            image = pixels(frame)
            if image[0, 0] == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)  # with a frame in its hands
            numpy.subtract(255, image, out=image)
            del image  # a frame with a view of it cannot be freed
            send(out, frame)
    send(out, None)
    signal.pause()


def start(function, *args):
    process = context.Process(target=function, args=args)
    process.start()
    return process


def main():
    arena = mempools.Arena.anonymous("12M")
    frames = arena.mempool("frames", nbytes="1M", min_nr=8, size="8M")
    to_worker, at_worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    to_consumer, at_consumer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with to_worker, at_worker, to_consumer, at_consumer:
        producer = start(produce, frames, to_worker)
        worker = start(work, at_worker, to_consumer, 20)
        seen = []
        while True:
            if at_consumer not in wait([at_consumer, worker.sentinel]):
                worker.join()
                print(f"worker ended with {worker.exitcode}: another one takes its place")
                worker = start(work, at_worker, to_consumer, None)
                continue
            try:
                frame = receive(at_consumer)
            except mempools.StaleHandle:
                continue  # the killed worker had sent it, and has taken it along
            if frame is None:
                break
            with frame:
                seen.append(255 - int(pixels(frame)[0, 0]))
        for process in producer, worker:
            process.terminate()
            process.join()
    print(f"{len(seen)} of {NR_FRAMES} frames arrived, in order: {seen == sorted(seen)}")
    print(f"lost with the worker: {sorted(set(range(NR_FRAMES)) - set(seen))}")
    arena.recover()
    print(f"frames in the pool again: {frames.curr_nr} of {frames.min_nr}")


if __name__ == "__main__":
    main()
