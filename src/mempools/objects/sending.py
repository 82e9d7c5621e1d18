"""L4: how blocks and areas travel in a pickle: a share of the memory, and a ticket of it for the receiver (pools/shares.py)."""

import cython

if not cython.compiled:
    raise ImportError("mempools.objects.sending is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.objects.poolobject import PoolObject
from cython.cimports.mempools.parts.status import OK
from cython.cimports.mempools.parts.viewcount import views_ended
from cython.cimports.mempools.pools.shares import Share, share_create, share_redeem, share_ticket

from mempools.errors import NotOwned


@cython.cfunc
def send(holder: object, what: str, pool: PoolObject, sent: cython.pointer(Sent), keeper: uint64_t) -> tuple:
    """`holder`, a block or an area, is shared from now on: what `unpack` takes, with a ticket of its own. TypeError for
    private memory, NotOwned for what is freed or a parent process's."""
    status: cython.int = OK
    ticket: Share
    if pool.arena is None or pool.mapping.fd < 0:
        raise TypeError(f"{holder!r} is in private memory: only {what}s of a shared arena can be sent")
    if sent.registration != pool.ref.arena.slot[1]:
        raise NotOwned(f"{holder!r} belongs to the process that this one was forked from")
    while True:
        with cython.critical_section(holder):
            if views_ended(sent.views):
                raise NotOwned(f"a freed {what} cannot be sent")
            if not sent.shared[0]:
                status = share_create(pool.ref, sent.address, sent.nbytes, keeper, sent.share)
                sent.shared[0] = status == OK
        if status == OK:
            status = share_ticket(pool.ref, sent.share, cython.address(ticket))
        if status == OK:
            return sent.address, sent.nbytes, ticket.record, ticket.generation, ticket.lane
        if not pool.may_retry(status):
            pool.fail(status, sent.address, sent.nbytes)


@cython.cfunc
@cython.exceptval(-1, check=False)
def unpack(where: object, arrived: cython.pointer(Arrived)) -> cython.int:
    """What `send` returned, or anything else: then what Python raises for it."""
    arrived.address, arrived.nbytes, arrived.ticket.record, arrived.ticket.generation, arrived.ticket.lane = where
    return 0


@cython.cfunc
@cython.exceptval(-1, check=False)
def receive(pool: PoolObject, arrived: cython.pointer(Arrived), held: cython.pointer(Share)) -> cython.int:
    """Redeems the ticket: the memory is held by this process, too."""
    status: cython.int
    pool.mapping.ensure_slot()
    pool.check_open()
    while True:
        status = share_redeem(pool.ref, cython.address(arrived.ticket), arrived.address, arrived.nbytes, held)
        if status == OK:
            return 0
        if not pool.may_retry(status):
            pool.fail(status, arrived.address, arrived.nbytes)
