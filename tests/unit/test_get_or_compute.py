"""`Store.get_or_compute` in one process: threads, nested computations, circles, tasks."""

import asyncio
import threading
import time

import pytest

import mempools as mp
from mempools import computing
from mempools.objects.flighttable import open_flights


@pytest.fixture
def store(arena):
    return arena.store("s", codec="none")


def in_flight(store):
    return open_flights(store.arena, store.arena._mapping, True).look()


def in_threads(*functions):
    """What each returns or raises, all started at the same time."""
    results = [None] * len(functions)
    ready = threading.Barrier(len(functions))

    def run(i, function):
        ready.wait()
        try:
            results[i] = function()
        except BaseException as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


def until_somebody_waits(store):
    """A second process of this arena would look the same: whoever waits has asked for its flight."""
    table = open_flights(store.arena, store.arena._mapping, True)
    deadline = time.monotonic() + 60
    while table.look()[0] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def test_a_value_that_is_there_is_not_computed(store):
    store["k"] = b"old"
    assert store.get_or_compute("k", lambda: pytest.fail("computed")) == b"old"


def test_computed_stored_and_no_flight_left(store):
    assert store.get_or_compute("k", lambda: bytearray(b"new")) == b"new"
    assert store["k"] == b"new"
    assert store.get_or_compute(b"k", lambda: b"of another key") == b"of another key"
    assert in_flight(store) == (0, [])


def test_of_many_threads_one_computes(store):
    computed = []

    def compute():
        computed.append(threading.get_ident())
        time.sleep(0.02)
        return b"v"

    assert in_threads(*[lambda: store.get_or_compute("k", compute)] * 8) == [b"v"] * 8
    assert len(computed) == 1
    assert in_flight(store) == (0, [])


def test_two_keys_are_computed_beside_each_other(store):
    meet = threading.Barrier(2, timeout=60)

    def compute():
        meet.wait()
        return b"v"

    assert in_threads(lambda: store.get_or_compute("a", compute), lambda: store.get_or_compute("b", compute)) == [
        b"v",
        b"v",
    ]


def test_an_exception_goes_to_its_own_caller_and_another_takes_over(store):
    begun, go = threading.Event(), threading.Event()

    def fail():
        begun.set()
        assert go.wait(60)
        raise KeyError("mine")

    def second():
        assert begun.wait(60)
        threading.Timer(0.05, go.set).start()
        return store.get_or_compute("k", lambda: b"second's")

    first, other = in_threads(lambda: store.get_or_compute("k", fail), second)
    assert isinstance(first, KeyError)
    assert first.args == ("mine",)
    assert other == b"second's"
    assert in_flight(store) == (0, [])


@pytest.mark.parametrize("value", ["text", 5, None])
def test_what_is_no_bytes_is_refused(store, value):
    with pytest.raises(TypeError, match="bytes-like"):
        store.get_or_compute("k", lambda: value)
    assert "k" not in store
    assert in_flight(store) == (0, [])


def test_a_value_without_room_is_told_and_others_may_try(store):
    with pytest.raises(mp.Exhausted):
        store.get_or_compute("k", lambda: bytes(2 << 20))
    assert store.get_or_compute("k", lambda: b"small") == b"small"


def test_keys_that_no_store_has(store):
    with pytest.raises(ValueError, match="65535"):
        store.get_or_compute("k" * 65536, lambda: pytest.fail("computed"))
    with pytest.raises(TypeError, match="str or bytes"):
        store.get_or_compute(5, lambda: pytest.fail("computed"))
    with pytest.raises(ValueError, match="timeout"):
        store.get_or_compute("k", lambda: pytest.fail("computed"), timeout=-1)


def test_nested_computations(store):
    def outer():
        return store.get_or_compute("inner", lambda: b"in") + b", out"

    assert store.get_or_compute("outer", outer) == b"in, out"
    assert dict(store) == {"inner": b"in", "outer": b"in, out"}
    assert in_flight(store) == (0, [])


def test_a_computation_cannot_ask_for_its_own_key(store):
    def compute():
        with pytest.raises(mp.WaitForbidden, match="its own key"):
            store.get_or_compute("k", lambda: b"inner")
        return store.get_or_compute("other", lambda: b"outer")

    assert store.get_or_compute("k", compute) == b"outer"


def circle(store, keys):
    """Each computes one key and asks for the next."""
    meet = threading.Barrier(len(keys), timeout=60)

    def asker(i):
        def compute():
            meet.wait()
            return store.get_or_compute(keys[(i + 1) % len(keys)], lambda: b"made on the way")

        return lambda: store.get_or_compute(keys[i], compute)

    return in_threads(*map(asker, range(len(keys))))


@pytest.mark.parametrize("nr", [2, 3, 5])
def test_a_circle_is_told_to_one_and_ends_for_all(store, nr):
    keys = [f"k{i}" for i in range(nr)]
    results = circle(store, keys)
    refused = [each for each in results if isinstance(each, mp.WaitForbidden)]
    assert len(refused) == 1
    assert len([each for each in results if isinstance(each, bytes)]) == nr - 1
    assert in_flight(store) == (0, [])


def test_a_circle_through_two_stores_of_an_arena(store):
    other = store.arena.store("other", codec="none")
    meet = threading.Barrier(2, timeout=60)

    def asker(mine, others):
        def compute():
            meet.wait()
            return others.get_or_compute("k", lambda: b"v")

        return lambda: mine.get_or_compute("k", compute)

    results = in_threads(asker(store, other), asker(other, store))
    assert sum(isinstance(each, mp.WaitForbidden) for each in results) == 1


def test_a_wait_that_was_given_up_closes_no_circle(store):
    """One who computes b has asked for a in vain, and gone on: who computes a may wait for b."""
    asked, go = threading.Event(), threading.Event()

    def compute_b():
        with pytest.raises(mp.WouldBlock):
            store.get_or_compute("a", lambda: b"", timeout=0.01)
        asked.set()
        assert go.wait(60)
        return b"b"

    def compute_a():
        thread.start()
        assert asked.wait(60)
        threading.Timer(0.05, go.set).start()
        return store.get_or_compute("b", lambda: b"not mine") + b"a"

    thread = threading.Thread(target=lambda: store.get_or_compute("b", compute_b))
    assert store.get_or_compute("a", compute_a) == b"ba"
    thread.join()


def test_timeout(store):
    done = threading.Event()

    def compute():
        assert done.wait(60)
        return b"v"

    def impatient():
        until_somebody_waits(store)
        try:
            with pytest.raises(mp.WouldBlock, match="within 0.03 s"):
                store.get_or_compute("k", lambda: b"not mine", timeout=0.03)
            with pytest.raises(mp.WouldBlock):
                store.get_or_compute("k", lambda: b"not mine", timeout=0)
        finally:
            done.set()

    assert in_threads(lambda: store.get_or_compute("k", compute), impatient) == [b"v", None]


def test_a_full_table_says_so(store):
    """The table has 510 flights: one for each computation inside another."""

    def deeper(n):
        return store.get_or_compute(str(n), lambda: deeper(n + 1)) if n < 600 else b"end"

    with pytest.raises((mp.Exhausted, RecursionError)):
        deeper(0)
    assert len(store) == 0
    assert in_flight(store) == (0, [])


def test_noio_may_wait_and_an_event_loop_may_not(store):
    begun, go = threading.Event(), threading.Event()

    def compute():
        begun.set()
        assert go.wait(60)
        return b"v"

    async def on_loop():
        assert store.get_or_compute("mine", lambda: b"m") == b"m"  # nothing to wait for
        with pytest.raises(mp.WaitForbidden, match="aget_or_compute"):
            store.get_or_compute("k", lambda: b"not mine")

    def second():
        assert begun.wait(60)
        asyncio.run(on_loop())
        threading.Timer(0.03, go.set).start()
        with mp.noio():
            return store.get_or_compute("k", lambda: b"not mine")

    assert in_threads(lambda: store.get_or_compute("k", compute), second) == [b"v", b"v"]


def test_a_task_computes_others_wait_and_a_cancelled_one_leaves_it_to_them(store):
    calls = []

    async def compute():
        calls.append(1)
        await asyncio.sleep(0.01 if len(calls) > 1 else 60)
        return b"v"

    async def main():
        first = asyncio.create_task(store.aget_or_compute("k", compute))
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(store.aget_or_compute("k", compute)) for _ in range(3)]
        await asyncio.sleep(0.01)
        first.cancel()
        return await asyncio.gather(*others)

    assert asyncio.run(main()) == [b"v"] * 3
    assert len(calls) == 2
    assert in_flight(store) == (0, [])


def test_a_task_may_compute_with_a_plain_function_and_time_out(store):
    async def main():
        assert await store.aget_or_compute("a", lambda: b"plain") == b"plain"
        assert await store.aget_or_compute("a", lambda: b"again") == b"plain"
        sleeping = asyncio.create_task(store.aget_or_compute("b", lambda: asyncio.sleep(60)))
        await asyncio.sleep(0)
        with pytest.raises(mp.WouldBlock):
            await store.aget_or_compute("b", lambda: b"", timeout=0.01)
        sleeping.cancel()
        await asyncio.gather(sleeping, return_exceptions=True)

    asyncio.run(main())


def test_two_tasks_that_need_each_others_value(store):
    async def need(mine, others, meet):
        async def compute():
            meet.append(mine)
            while len(meet) < 2:
                await asyncio.sleep(0)
            return await store.aget_or_compute(others, lambda: b"on the way")

        return await store.aget_or_compute(mine, compute)

    async def main():
        meet = []
        return await asyncio.gather(need("a", "b", meet), need("b", "a", meet), return_exceptions=True)

    assert {type(each) for each in asyncio.run(main())} == {mp.WaitForbidden, bytes}
    assert in_flight(store) == (0, [])


def test_a_task_made_by_a_computation_is_part_of_it(store):
    async def compute():
        task = asyncio.create_task(store.aget_or_compute("k", lambda: b"inner"))
        with pytest.raises(mp.WaitForbidden):
            await task
        return b"v"

    assert asyncio.run(store.aget_or_compute("k", compute)) == b"v"


def test_a_flight_ends_with_its_object(store):
    """A signal's handler that raises between the claim and what follows it."""
    table = open_flights(store.arena, store.arena._mapping, True)
    flight = computing._Flight(table)
    assert flight._table.claim(7, 0, flight._place)[0] == 0
    assert table.look()[0] == 1
    del flight
    assert table.look() == (0, [])


def test_garbage_tickets(store):
    table = open_flights(store.arena, store.arena._mapping, True)
    for ticket in (0, 1, 511, 512, 2**32 - 1, 2**32, 2**64 - 1):
        assert table.finish(ticket) is False
        table.give_up(ticket)
    assert table.claim(9, 2**64 - 1, [])[0] == 0
    kind, ticket = table.claim(9, 77, [])
    assert kind == 1
    assert table.wait(ticket, 1000) is False
    assert table.finish(ticket) is True
    assert table.wait(ticket, 1000) is True
    with pytest.raises(mp.Corrupt):
        table.wait(0, 1000)


def test_another_pool_of_the_tables_name_is_told(arena):
    arena.genpool(".flights")
    with pytest.raises(mp.LayoutMismatch):
        arena.store("s", codec="none").get_or_compute("k", lambda: b"v")


def test_a_closed_arena():
    arena = mp.Arena("1M")
    store = arena.store("s", codec="none")
    store.get_or_compute("k", lambda: b"v")
    arena.close()
    with pytest.raises(mp.PoolError, match="closed"):
        store.get_or_compute("k", lambda: b"v")
