"""A server that has four buffers, whatever the number of its clients.

Each request is received into a buffer of the pool. Who finds none waits, without stopping the loop; what its client sends
stays in the client's and the kernel's hands meanwhile, which is back-pressure."""

import asyncio
import hashlib
import os
import socket

import mempools

NR_CLIENTS = 40
REQUEST = 256 << 10  # bytes


async def answer(connection, buffers):
    loop = asyncio.get_running_loop()
    with connection:
        async with buffers.acquire() as buffer:
            with memoryview(buffer) as view:
                received = 0
                while received < REQUEST:
                    nr = await loop.sock_recv_into(connection, view[received:])
                    if nr == 0:
                        return  # the client has gone; the buffer goes back all the same
                    received += nr
                digest = hashlib.sha256(view).digest()
        await loop.sock_sendall(connection, digest)


async def serve(listener, buffers):
    async with asyncio.TaskGroup() as tasks:
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            tasks.create_task(answer(connection, buffers))


async def ask(address):
    """A client: is the answer right?"""
    reader, writer = await asyncio.open_connection(*address)
    request = os.urandom(REQUEST)
    writer.write(request)
    digest = await reader.read()
    writer.close()
    await writer.wait_closed()
    return digest == hashlib.sha256(request).digest()


async def main():
    buffers = mempools.Arena("2M").mempool("buffers", nbytes=REQUEST, min_nr=4, size=4 * REQUEST)
    with socket.create_server(("127.0.0.1", 0), backlog=NR_CLIENTS) as listener:
        listener.setblocking(False)
        server = asyncio.create_task(serve(listener, buffers))
        right = await asyncio.gather(*[ask(listener.getsockname()) for _ in range(NR_CLIENTS)])
        server.cancel()
        await asyncio.wait([server])
    stats = buffers.stats()
    print(f"{sum(right)} of {NR_CLIENTS} answers are right")
    print(f"buffers: {stats.min_nr}, in the pool again: {stats.curr_nr}")
    print(f"some had to wait: {stats.waits > 0}")


if __name__ == "__main__":
    asyncio.run(main())
