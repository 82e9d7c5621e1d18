"""noio and callback scopes: who may wait."""

import asyncio
import contextvars
import threading

import pytest

from mempools import WaitForbidden, in_noio, may_wait, noio
from mempools.objects.contexts import callback, check_wait


def test_outside_of_everything_waiting_is_allowed():
    assert may_wait()
    assert not in_noio()
    check_wait("pool", "an element", "await alloc_async()")


def test_noio_nests_and_ends():
    with noio():
        with noio():
            assert in_noio()
        assert in_noio()
        assert may_wait()
        check_wait("pool", "an element", "")
    assert not in_noio()


def test_a_callback_may_not_wait_for_its_own_pool_but_for_others():
    own, other = object(), object()
    with callback(own, True):
        assert in_noio()
        assert may_wait()
        check_wait(other, "an element", "")
        with callback(other, True):
            with pytest.raises(WaitForbidden, match="the callback would wait for the pool"):
                check_wait(own, "an element", "")


def test_a_callback_of_a_first_attempt_may_not_wait_at_all():
    with callback("backend's pool", False):
        assert not may_wait()
        with callback("inner", True):
            assert not may_wait()
            with pytest.raises(WaitForbidden, match="may not wait"):
                check_wait("another", "an element", "")


def test_an_event_loop_may_not_wait():
    async def main():
        assert not may_wait()
        with pytest.raises(WaitForbidden, match="event loop.*call it elsewhere"):
            check_wait("pool", "an element", "call it elsewhere")

    asyncio.run(main())


def test_tasks_inherit_the_scope_and_threads_do_only_by_hand():
    seen = []

    async def child():
        seen.append(in_noio())

    async def main():
        with noio():
            task = asyncio.create_task(child())
        await task

    asyncio.run(main())
    with noio():
        context = contextvars.copy_context()
        for target in (lambda: seen.append(context.run(in_noio)),):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert seen == [True, True]
