"""Two database connections for eight threads.

The backend opens as many connections as there may be and then has none: from there on the pool lends, and takes back, what is
in its reserve. `reset` ends the transaction that somebody has left open."""

import sqlite3
import tempfile
import threading
from pathlib import Path

import mempools

NR_CONNECTIONS = 2
NR_THREADS = 8
NR_ROWS = 25  # of each thread


def connection_pool(path, nr):
    """A pool of `nr` connections."""
    new = [sqlite3.connect(path, check_same_thread=False) for _ in range(nr)]
    return mempools.Mempool(
        nr,
        alloc=lambda: new.pop() if new else None,
        free=sqlite3.Connection.close,
        reset=sqlite3.Connection.rollback,
        name="connections",
    )


def insert(pool, thread):
    for row in range(NR_ROWS):
        with pool.acquire(timeout=60) as db:
            db.execute("INSERT INTO rows VALUES (?, ?)", (thread, row))
            if row == 7:
                continue  # forgets to commit: the row is rolled back, the connection as good as new
            db.commit()


def main():
    with tempfile.TemporaryDirectory() as folder:
        pool = connection_pool(Path(folder, "rows.db"), NR_CONNECTIONS)
        with pool.acquire() as db:
            db.execute("PRAGMA journal_mode = MEMORY")
            db.execute("CREATE TABLE rows (thread, row)")
        threads = [threading.Thread(target=insert, args=(pool, nr)) for nr in range(NR_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with pool.acquire() as db:
            (nr,) = db.execute("SELECT count(*) FROM rows").fetchone()
        print(f"{nr} rows of {NR_THREADS} threads through {NR_CONNECTIONS} connections")
        print(f"in the pool again: {pool.curr_nr}")
        pool.empty()  # closes them


if __name__ == "__main__":
    main()
