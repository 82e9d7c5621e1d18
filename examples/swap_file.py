"""A swap file in memory: two processes keep a sorted table of rows in a compressed device, through ordinary file objects."""

import io
import os

from mempools import Arena

ROWS, NBYTES = 20_000, 64


def row(number: int) -> bytes:
    return f"row {number}, price {number % 97}.{number % 89:02}".encode().ljust(NBYTES)


def main() -> None:
    with Arena.anonymous("8M") as arena:
        device = arena.zram("swap", ROWS * NBYTES)
        pid = os.fork()
        if pid == 0:  # writes, and is gone
            with io.BufferedRandom(arena.zram("swap").open(), 65536) as file:
                file.writelines(map(row, range(ROWS)))
            os._exit(0)
        os.waitpid(pid, 0)
        with io.BufferedReader(device.open()) as file:
            file.seek(12_345 * NBYTES)
            print(file.read(NBYTES).decode().strip())
        print(f"{device.stats().orig_data_size >> 10} KiB of rows")
        device.discard(0, device.disksize // 2)
        print(f"half of it is zeros again: {device.read(0, NBYTES) == bytes(NBYTES)}")
        print(f"pages came back: {device.compact() > 0}")
        device.check()


if __name__ == "__main__":
    main()
