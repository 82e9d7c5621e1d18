"""GenPool in one process: algorithms, chunks, frees that must be refused, bulk calls, the registry."""

import array
import gc

import pytest

from mempools import Arena, Busy, Exhausted, GenPool, LayoutMismatch, NotOwned, PoolError

GRANULE = 64
TOP = 1 << 64


def bare(nr: int = 16, *, base: int = 0x10000, granule: int = GRANULE, **more) -> GenPool:
    """A pool over nr granules of bare addresses: nothing there is ever touched."""
    return GenPool((base, nr * granule), granule, **more)


def picture(pool: GenPool) -> tuple:
    """All that can be seen of the owner maps: every free granule of every chunk, and who holds how much."""
    found = []

    def look(view, nr, data):
        at = view.find(1)
        while at is not None:
            found.append(view.address + at * view.granule)
            at = view.find(1, at + 1)

    with pytest.raises(Exhausted):
        pool.alloc(pool.granule, algo=look)
    return tuple(found), pool.stats()


def take(pool: GenPool, *layout: int) -> list[int]:
    """Fills the pool from its start with blocks of so many granules; negative numbers stay free."""
    wanted, gaps = [], []
    for nr in layout:
        offset = pool.alloc(abs(nr) * pool.granule, algo="first_fit")
        (wanted if nr > 0 else gaps).append(offset)
    offsets = [block.offset for block in wanted]
    for gap in gaps:
        gap.free()
    _kept.append(wanted)
    return offsets


_kept: list = []


@pytest.fixture(autouse=True)
def forget():
    yield
    _kept.clear()


@pytest.fixture
def arena():
    with Arena("1M") as arena:
        yield arena


@pytest.fixture
def pool(arena):
    """Eight kilobytes in the arena: fixed, so that it does not grow."""
    return arena.genpool("pool", granule=GRANULE, size=8192)


# ---- algorithms


def test_first_fit_takes_the_lowest_run():
    pool = bare()
    take(pool, -2, 1, -3, 1)
    assert pool.alloc(3 * GRANULE, algo="first_fit").offset == 0x10000 + 3 * GRANULE


def test_best_fit_takes_the_smallest_run_and_the_lowest_of_equals():
    pool = bare(32)
    take(pool, -4, 1, -2, 1, -3, 1, -2, 1)
    first = pool.alloc(2 * GRANULE, algo="best_fit")
    assert first.offset == 0x10000 + 5 * GRANULE
    second = pool.alloc(2 * GRANULE, algo="best_fit")
    assert second.offset == 0x10000 + 12 * GRANULE
    assert pool.alloc(3 * GRANULE, algo="best_fit").offset == 0x10000 + 8 * GRANULE


def test_best_fit_across_words():
    pool = bare(64)
    take(pool, -20, 1, -12, 1)
    assert pool.alloc(11 * GRANULE, algo="best_fit").offset == 0x10000 + 21 * GRANULE


def test_near_fit_goes_on_from_where_it_was_and_comes_round():
    pool = bare()
    offsets = [pool.alloc_offset(GRANULE) for _ in range(16)]
    assert sorted(offsets) == [0x10000 + i * GRANULE for i in range(16)]
    pool.free_offset(offsets[1], GRANULE)
    assert pool.alloc_offset(GRANULE) == offsets[1]


def test_near_fit_finds_a_run_across_its_starting_place():
    pool = bare(32)
    offsets = [pool.alloc_offset(4 * GRANULE) for _ in range(8)]  # the handle's place is now the last word
    for offset in offsets[5:7]:
        pool.free_offset(offset, 4 * GRANULE)
    assert pool.alloc_offset(8 * GRANULE) == offsets[5]


@pytest.mark.parametrize("nr", [1, 3, 8, 9, 16])
@pytest.mark.parametrize("align", [1, 2, GRANULE, 2 * GRANULE, 4 * GRANULE, 16 * GRANULE])
@pytest.mark.parametrize("how", ["first_fit", "best_fit", "first_fit_align"])
def test_alignment_is_of_the_address(nr, align, how):
    pool = bare(64, base=0x10000 + 3 * GRANULE)
    first = pool.alloc(GRANULE, algo="first_fit")
    for _ in range(2):
        block = pool.alloc(nr * GRANULE, algo=how, data=align)
        assert block.offset % align == 0
        assert block.offset > first.offset


def test_alignment_in_a_chunk_that_starts_between_granules():
    """The kernel's 52fbf1134d47: the address must be aligned, not the distance from the chunk's start."""
    pool = bare(64, base=0x10008)
    block = pool.alloc(8, align=8)
    assert block.offset == 0x10008
    with pytest.raises(Exhausted):
        pool.alloc(8, align=16)
    assert pool.avail == 63 * GRANULE


def test_alignment_of_a_buffer_that_starts_anywhere():
    memory = memoryview(bytearray(8192 + 4096))
    for start in (0, 8, 56, 64, 100):
        pool = GenPool(memory[start : start + 8192], 8)
        block = pool.alloc(100, align=1024) if pool.chunks()[0].address % 8 == 0 else None
        assert block is None or block.offset % 1024 == 0


def test_alignment_larger_than_the_chunk_is_exhausted():
    with pytest.raises(Exhausted):
        bare(16, base=GRANULE).alloc(GRANULE, align=1 << 61)


@pytest.mark.parametrize("nr", [1, 2, 3, 5, 8])
def test_order_align_is_of_the_chunk_or_of_the_address(nr):
    power = 1 << (nr - 1).bit_length()
    base = 0x10000 + 3 * GRANULE
    pool = bare(64, base=base)
    take(pool, 1)
    block = pool.alloc(nr * GRANULE, algo="first_fit_order_align")
    assert (block.offset - base) % (power * GRANULE) == 0
    other = pool.alloc(nr * GRANULE, algo="first_fit_order_align", data="address")
    assert other.offset % (power * GRANULE) == 0


def test_fixed_takes_exactly_that_place_or_fails():
    pool = bare()
    block = pool.alloc(2 * GRANULE, algo="fixed", data=0x10000 + 7 * GRANULE)
    assert block.offset == 0x10000 + 7 * GRANULE
    before = picture(pool)
    for address in (
        0x10000 + 6 * GRANULE,  # its second granule is taken
        0x10000 + 7 * GRANULE,
        0x10000 + 8 * GRANULE,
        0x10000 + 3 * GRANULE + 1,  # between granules
        0x10000 + 15 * GRANULE,  # past the end
        0x10000 + 16 * GRANULE,
        0,
        TOP - 1,
    ):
        with pytest.raises(Exhausted):
            pool.alloc(2 * GRANULE, algo="fixed", data=address)
    assert picture(pool) == before


def test_a_callable_chooses():
    pool = bare()
    seen = []

    def last(view, nr, data):
        seen.append((view.address, view.granule, len(view), nr, data))
        return len(view) - nr

    block = pool.alloc(3 * GRANULE, algo=last, data="data")
    assert block.offset == 0x10000 + 13 * GRANULE
    assert seen == [(0x10000, GRANULE, 16, 3, "data")]


def test_a_callable_of_the_pool():
    pool = bare()
    handle = pool.handle()
    pool.set_algo(lambda view, nr, data: view.find(nr, data), 8)
    block = pool.alloc(GRANULE)
    assert block.offset == 0x10000 + 8 * GRANULE
    assert handle.alloc_offset(GRANULE) == 0x10000 + 9 * GRANULE
    assert pool.alloc_bulk(2, GRANULE) == [0x10000 + 10 * GRANULE, 0x10000 + 11 * GRANULE]
    pool.set_algo(None)
    assert pool.alloc(GRANULE).offset < 0x10000 + 8 * GRANULE


def test_a_callable_that_insists_on_a_taken_place_is_not_asked_for_ever():
    pool = bare()
    asked = []

    def stubborn(view, nr, data):
        asked.append(nr)
        return 0

    block = pool.alloc(GRANULE, algo=stubborn)
    with pytest.raises(Exhausted):
        pool.alloc(GRANULE, algo=stubborn)
    assert block.offset == 0x10000
    assert len(asked) < 10


@pytest.mark.parametrize("chosen", [-1, 15, 1 << 70, "3", 2.0])
def test_a_callable_that_chooses_no_place_in_the_chunk(chosen):
    pool = bare()
    with pytest.raises(ValueError, match="chose"):
        pool.alloc(2 * GRANULE, algo=lambda view, nr, data: chosen)
    assert pool.avail == pool.size


def test_what_a_callable_raises_arrives():
    pool = bare()

    def broken(view, nr, data):
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        pool.alloc(GRANULE, algo=broken)
    with pytest.raises(ValueError, match="find"):
        pool.alloc(GRANULE, algo=lambda view, nr, data: view.find(0))
    assert pool.avail == pool.size


def test_a_callable_in_a_pool_that_grows(arena):
    pool = arena.genpool("growing")
    block = pool.alloc(100, algo=lambda view, nr, data: view.find(nr))
    assert pool.size > 0
    assert block.nbytes == 100


def test_the_pools_algorithm_is_for_all_its_objects_and_changes_with_its_data(arena, pool):
    other = arena.genpool("pool", granule=GRANULE, size=8192)
    pool.set_algo("first_fit_align", 1024)
    assert other.alloc(GRANULE).offset % 1024 == 0
    pool.set_algo("best_fit")
    pool.set_algo("first_fit", 2048)
    assert other.alloc_offset(GRANULE) % 2048 == 0


def test_bulk_by_the_pools_algorithm():
    pool = bare(64)
    pool.set_algo("first_fit_align", 4 * GRANULE)
    assert pool.alloc_bulk(4, GRANULE) == [0x10000 + i * 4 * GRANULE for i in range(4)]
    pool = bare(64)
    pool.set_algo("first_fit")
    assert sorted(pool.alloc_bulk(10, GRANULE)) == [0x10000 + i * GRANULE for i in range(10)]


@pytest.mark.parametrize(
    ("algo", "data"),
    [
        ("worst_fit", None),
        ("first_fit", 3),
        ("first_fit", 0),
        ("first_fit", -1),
        ("first_fit", 1 << 62),
        ("first_fit", "8"),
        ("first_fit_align", None),
        ("best_fit", 2.0),
        ("fixed", None),
        ("fixed", -1),
        ("fixed", TOP),
        ("near_fit", 8),
        ("first_fit_order_align", "pool"),
        (None, 8),
    ],
)
def test_algorithms_that_make_no_sense(pool, algo, data):
    before = pool.stats()
    with pytest.raises(ValueError):
        pool.alloc(GRANULE, algo=algo, data=data)
    if algo is not None:
        with pytest.raises(ValueError):
            pool.set_algo(algo, data)
    assert pool.stats() == before


def test_a_pool_wide_address_that_does_not_fit_in_the_word(pool):
    with pytest.raises(ValueError, match="too large"):
        pool.set_algo("fixed", 1 << 56)


# ---- chunks


def test_each_chunk_is_searched_from_its_start():
    """The defect of seed 002: after a newest chunk without a fitting run, the older one's beginning was missed."""
    pool = bare(16)
    pool.add((0x20000, 16 * GRANULE))
    newest = [pool.alloc(GRANULE, algo="fixed", data=0x20000 + i * 2 * GRANULE) for i in range(8)]
    for algo in ("first_fit", "best_fit", "near_fit"):
        block = pool.alloc(4 * GRANULE, algo=algo)
        assert 0x10000 <= block.offset < 0x10000 + 16 * GRANULE
    assert len(newest) == 8


def test_the_newest_chunk_comes_first():
    pool = bare()
    pool.add((0x20000, 16 * GRANULE))
    assert pool.alloc(GRANULE, algo="first_fit").offset == 0x20000
    assert [chunk.address for chunk in pool.chunks()] == [0x20000, 0x10000]


def test_a_chunk_at_the_top_of_the_address_space():
    """The kernel's 674470d97958: an exclusive end overflows."""
    pool = GenPool((TOP - 16 * 4096, 16 * 4096), 4096)
    blocks = [pool.alloc(4096) for _ in range(16)]
    assert max(block.offset for block in blocks) == TOP - 4096
    assert pool.has_addr(TOP - 1)
    assert not pool.has_addr(TOP - 1, 2)
    with pytest.raises(Exhausted):
        pool.alloc(4096)
    blocks.clear()
    assert pool.alloc(16 * 4096).offset == TOP - 16 * 4096


def test_address_zero_is_an_address():
    pool = bare(base=0)
    block = pool.alloc(16 * GRANULE)
    assert block.offset == 0
    block.free()
    assert pool.alloc_offset(GRANULE) == 0
    pool.free_offset(0, GRANULE)
    assert pool.avail == pool.size


def test_sizes_past_32_bits():
    """The kernel's 36845663843f: int arithmetic failed from 2^31 on."""
    granule = 1 << 40
    pool = GenPool((1 << 62, granule << 20), granule)
    assert pool.size == granule << 20
    offset = pool.alloc_offset((granule << 19) + 1)
    assert pool.avail == (granule << 20) - ((granule << 19) + granule)
    pool.free_offset(offset, (granule << 19) + 1)
    assert pool.avail == pool.size
    small = GenPool((1 << 63, 1 << 36), 1 << 16)
    block = small.alloc((1 << 32) + 1)
    assert small.size - small.avail == (1 << 32) + (1 << 16)
    assert small.alloc((1 << 31), align=1 << 32).offset % (1 << 32) == 0
    assert block.nbytes == (1 << 32) + 1


@pytest.mark.parametrize("nbytes", [(1 << 63) - 1, 1 << 62, 1 << 40])
@pytest.mark.parametrize("algo", [None, "first_fit", "best_fit", "first_fit_order_align"])
def test_requests_that_no_memory_can_serve(nbytes, algo):
    for granule in (1, 8, 4096):
        pool = bare(granule=granule)
        with pytest.raises((Exhausted, ValueError)):
            pool.alloc(nbytes, algo=algo)
        with pytest.raises((NotOwned, ValueError)):
            pool.free_offset(0x10000, nbytes)
        assert pool.avail == pool.size


@pytest.mark.parametrize(
    "memory",
    [
        (0x10000, GRANULE + 1),  # no multiple of the granule
        (0x10000, 0),
        (0x10000, GRANULE),  # the same
        (0x10000 - GRANULE, 2 * GRANULE),
        (0x10000 + 15 * GRANULE, 2 * GRANULE),
        (0x10000 + 15 * GRANULE + 1, GRANULE),  # by one byte
        (0x10000 - GRANULE + 1, GRANULE),
        (0x8000, 0x10000),  # around it
        (TOP - GRANULE, 2 * GRANULE),  # past the top
    ],
)
def test_chunks_that_are_refused(memory):
    pool = bare()
    with pytest.raises(ValueError):
        pool.add(memory)
    assert pool.size == 16 * GRANULE
    assert len(pool.chunks()) == 1


def test_neighbours_do_not_overlap():
    pool = bare()
    pool.add((0x10000 + 16 * GRANULE, GRANULE))
    pool.add((0x10000 - GRANULE, GRANULE))
    assert pool.size == 18 * GRANULE


def test_no_room_for_a_map():
    pool = bare(metadata_size=1 << 18)
    with pytest.raises(Exhausted, match="metadata_size"):
        pool.add((1 << 40, 1 << 40))
    assert len(pool.chunks()) == 1
    with pytest.raises(Exhausted):
        bare(1 << 50)


def test_the_list_of_chunks_has_an_end():
    pool = bare(1, granule=4096)
    with pytest.raises(Exhausted):
        for i in range(1, 100):
            pool.add((0x100000 + i * 4096, 4096))
    assert len(pool.chunks()) == 64
    blocks = [pool.alloc(4096) for _ in range(64)]
    assert len({block.offset for block in blocks}) == 64


def test_memory_that_is_not_memory():
    for memory in (b"read-only", (1, 2, 3), 5, None, "text", (0, "1M"), ("0", 64), (-1, 64), (0, TOP)):
        with pytest.raises((TypeError, ValueError, BufferError, OverflowError, Exhausted)):
            GenPool(memory, 8)


def test_a_chunk_over_a_buffer_keeps_it():
    memory = bytearray(4096)
    pool = GenPool(memory, 64)
    with memoryview(pool.alloc(100, zero=True)) as view:
        view[:3] = b"abc"
    assert bytes(memory).count(b"abc") == 1
    with pytest.raises(BufferError):
        memory.clear()


def test_device_addresses_and_owner_numbers():
    pool = bare(device=0x7000, owner=5)
    pool.add((0x20000, 16 * GRANULE))
    block = pool.alloc(GRANULE, algo="fixed", data=0x10000 + GRANULE)
    assert block.device_address == 0x7000 + GRANULE
    assert pool.device_address(0x10000 + 3) == 0x7003
    assert (block.owner, pool.owner_of(0x20000)) == (5, 0)
    with pytest.raises(LookupError):
        pool.device_address(0x20000)
    for outside in (0, 0x10000 - 1, 0x10000 + 16 * GRANULE, TOP - 1):
        with pytest.raises(NotOwned):
            pool.device_address(outside)
        with pytest.raises(NotOwned):
            pool.owner_of(outside)
    infos = pool.chunks()
    assert [(info.device, info.owner) for info in infos] == [(None, 0), (0x7000, 5)]


def test_has_addr():
    pool = bare()
    pool.add((0x10000 + 16 * GRANULE, 16 * GRANULE))
    assert pool.has_addr(0x10000)
    assert pool.has_addr(0x10000 + 1, 16 * GRANULE - 1)
    assert not pool.has_addr(0x10000 + 1, 16 * GRANULE)  # the rest lies in another chunk
    assert not pool.has_addr(0x10000 - 1)
    assert not pool.has_addr(0x10000, 0)
    assert not pool.has_addr(0x10000, TOP - 1)


# ---- pools in an arena


def test_a_pool_grows_when_it_must(arena):
    pool = arena.genpool("growing", granule=GRANULE)
    assert (pool.size, pool.chunks()) == (0, [])
    blocks = []
    with pytest.raises(Exhausted):
        while True:
            blocks.append(pool.alloc(1000))
    assert len(blocks) > 700
    assert pool.size == sum(chunk.nbytes for chunk in pool.chunks())
    assert 1 < len(pool.chunks()) < 30
    assert len({block.offset for block in blocks}) == len(blocks)
    blocks.clear()
    assert pool.avail == pool.size


def test_growing_on_purpose(arena, pool):
    growing = arena.genpool("growing")
    growing.grow(100_000)
    assert growing.stats().largest >= 100_000
    before = growing.size
    with pytest.raises(Exhausted):
        growing.grow(1 << 40)
    with pytest.raises(ValueError):
        growing.grow(0)
    assert growing.size == before
    with pytest.raises(PoolError):
        pool.grow(64)
    with pytest.raises(PoolError):
        bare().grow(64)
    with pytest.raises(PoolError):
        growing.add(bytearray(64))


def test_an_aligned_request_does_not_eat_the_arena(arena):
    """A new chunk may be in a place where no aligned run fits: it must be made large enough at once."""
    pool = arena.genpool("growing", granule=GRANULE)
    for _ in range(3):
        block = pool.alloc(60_000, align=1 << 16)
        assert block.offset % (1 << 16) == 0
        block.free()
    assert pool.size < 500_000
    assert len(pool.chunks()) == 1
    with pytest.raises(Exhausted):
        pool.alloc(64, align=1 << 40)
    assert len(pool.chunks()) == 1


def test_a_fixed_size(arena, pool):
    assert pool.size >= 8192
    blocks = []
    with pytest.raises(Exhausted):
        while True:
            blocks.append(pool.alloc(GRANULE))
    assert len(blocks) * GRANULE == pool.size
    assert pool.avail == 0
    blocks.clear()
    assert pool.alloc(pool.size).nbytes == pool.size


def test_the_registry(arena, pool):
    again = arena.genpool("pool", granule=GRANULE, size=8192)
    offset = again.alloc_offset(GRANULE)
    pool.free_offset(offset, GRANULE)
    for wrong in ({"granule": 128, "size": 8192}, {"granule": GRANULE, "size": 4096}, {"granule": 64, "foreign": True}):
        with pytest.raises(LayoutMismatch, match="pool"):
            arena.genpool("pool", **wrong)
    with pytest.raises(ValueError):
        arena.genpool("")
    with pytest.raises(ValueError):
        arena.genpool("x" * 65)
    with pytest.raises(ValueError):
        arena.genpool("a\0b")
    with pytest.raises(TypeError):
        arena.genpool(b"bytes")
    assert arena.genpool("x" * 64).name == "x" * 64
    assert arena.genpool("ümlaut").alloc(10).nbytes == 10


@pytest.mark.parametrize("granule", [0, -8, 3, 4, 1 << 41, "64", 8.0])
def test_granules_that_are_refused(arena, granule):
    with pytest.raises(ValueError):
        arena.genpool("bad", granule=granule)


def test_the_directory_has_an_end():
    with Arena("4M") as arena:
        with pytest.raises(Exhausted, match="directory"):
            for i in range(100):
                arena.genpool(f"pool {i}", shares=0)
        arena.genpool("pool 3", shares=0).destroy()
        assert arena.genpool("another", shares=0).alloc(1).nbytes == 1


def test_destroy_gives_the_pages_back(arena):
    for _ in range(20):  # together more than the arena
        pool = arena.genpool("pool", granule=GRANULE, size=200_000)
        pool.alloc(1000).free()
        pool.destroy()


def test_destroy_is_refused_while_a_block_is_taken(arena, pool):
    block = pool.alloc(GRANULE)
    with pytest.raises(Busy):
        pool.destroy()
    block.free()
    with pytest.raises(PoolError):
        pool.handle().destroy()
    pool.destroy()


def test_a_destroyed_pool_is_an_error_not_a_crash(arena, pool):
    """Its pages belong to others from then on: nothing that was the pool's may write there any more."""
    handle = pool.handle()
    again = arena.genpool("pool", granule=GRANULE, size=8192)
    block = pool.alloc(GRANULE)
    offset = block.offset
    pool.destroy(force=True)
    other = arena.genpool("other", granule=GRANULE, size=8192)
    held = other.alloc(other.size)
    before = other.stats()
    for dead in (pool, handle, again):
        with pytest.raises(PoolError):
            dead.alloc(GRANULE)
        with pytest.raises(PoolError):
            dead.alloc_offset(GRANULE)
        with pytest.raises(PoolError):
            dead.alloc_bulk(2, GRANULE)
        with pytest.raises(PoolError):
            dead.free_offset(offset, GRANULE)
        with pytest.raises(PoolError):
            dead.destroy()
        with pytest.raises(PoolError):
            dead.set_algo("best_fit")
        with pytest.raises(PoolError):
            dead.stats()
    with pytest.raises(PoolError):
        block.free()
    del block
    assert other.stats() == before
    held.free()


def test_a_closed_arena_is_an_error():
    arena = Arena("1M")
    pool = arena.genpool("pool")
    block = pool.alloc(GRANULE)
    arena.close()
    for call in (
        lambda: pool.alloc(1),
        lambda: pool.alloc_offset(1),
        lambda: pool.alloc_bulk(1, 1),
        lambda: pool.free_offset(0, 1),
        lambda: pool.free_bulk([0], 1),
        lambda: pool.stats(),
        lambda: pool.chunks(),
        lambda: pool.grow(1),
        lambda: pool.set_algo(None),
        lambda: pool.destroy(),
        lambda: pool.recall(),
    ):
        with pytest.raises(PoolError, match="closed"):
            call()
    block.free()


# ---- frees


def wrong_frees(first: int, second: int) -> list[tuple[int, int]]:
    """What is not exactly one of two blocks of three granules side by side."""
    return [
        (first, GRANULE),  # too short
        (first, 2 * GRANULE),
        (first, 4 * GRANULE),  # too long: into the neighbour
        (first, 6 * GRANULE),  # both
        (first, 8 * GRANULE),
        (first, 1 << 40),
        (first + GRANULE, 2 * GRANULE),  # inside
        (first + GRANULE, GRANULE),
        (first + 1, 3 * GRANULE),  # between granules
        (second, 4 * GRANULE),  # into what is free
        (second + 3 * GRANULE, GRANULE),  # free already
        (0, GRANULE),  # outside
        (TOP - 1, GRANULE),
        (second + 4096, GRANULE),
    ]


@pytest.mark.parametrize("at", range(9))  # every place in a word of the map
@pytest.mark.parametrize("which", range(14))
def test_wrong_frees_change_nothing(at, which):
    pool = bare(32)
    if at:
        take(pool, at)
    first, second = take(pool, 3, 3)
    before = picture(pool)
    offset, nbytes = wrong_frees(first, second)[which]
    with pytest.raises(NotOwned):
        pool.free_offset(offset, nbytes)
    with pytest.raises(NotOwned):
        pool.free_bulk([offset], nbytes)
    assert picture(pool) == before


@pytest.mark.parametrize("nr", [1, 3, 7, 8, 9, 40])
def test_a_double_free_is_refused(nr):
    pool = bare(64)
    offset = pool.alloc_offset(nr * GRANULE)
    pool.free_offset(offset, nr * GRANULE)
    before = picture(pool)
    with pytest.raises(NotOwned, match="double free"):
        pool.free_offset(offset, nr * GRANULE)
    assert picture(pool) == before


def test_a_block_that_ends_with_its_chunk():
    pool = bare(13)
    offset = pool.alloc_offset(13 * GRANULE)
    for nr in (1, 12, 14, 16, 17):
        with pytest.raises(NotOwned):
            pool.free_offset(offset, nr * GRANULE)
    pool.free_offset(offset, 13 * GRANULE)
    assert pool.avail == pool.size


def test_the_structures_of_the_arena_are_nobodys_to_free(arena, pool):
    """Offsets of the arena's own header and of another pool lie in no chunk of this one."""
    other = arena.genpool("other", granule=GRANULE, size=8192)
    block = other.alloc(GRANULE)
    for offset in (0, 4096, block.offset):
        with pytest.raises(NotOwned, match="no chunk"):
            pool.free_offset(offset, GRANULE)


def test_messages_say_which_block_and_whose():
    pool = bare()
    offset = pool.alloc_offset(3 * GRANULE)
    with pytest.raises(NotOwned, match=r"192 bytes at 0x10000, this process's"):
        pool.free_offset(offset + GRANULE, GRANULE)
    with pytest.raises(Exhausted, match=r"6400 bytes \(granule 64\)"):
        pool.alloc(6400)


# ---- sizes and types


@pytest.mark.parametrize("nbytes", [-1, TOP, 1.5, "64", None, b"1", [1]])
def test_sizes_that_are_no_sizes(pool, nbytes):
    before = pool.stats()
    for call in (
        lambda: pool.alloc(nbytes),
        lambda: pool.alloc_offset(nbytes),
        lambda: pool.alloc_bulk(1, nbytes),
        lambda: pool.alloc_bulk(nbytes, 64),
        lambda: pool.free_offset(nbytes, 64),
        lambda: pool.free_offset(0, nbytes),
        lambda: pool.free_bulk([nbytes], 64),
        lambda: pool.free_bulk([], nbytes),
        lambda: pool.has_addr(nbytes),
        lambda: pool.grow(nbytes),
    ):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            call()
    assert pool.stats() == before


@pytest.mark.parametrize("nbytes", [0, 1 << 63, TOP - 1])
def test_sizes_that_no_block_has(pool, nbytes):
    before = pool.stats()
    with pytest.raises(ValueError, match="no block can have"):
        pool.alloc(nbytes)
    with pytest.raises(ValueError):
        pool.alloc_offset(nbytes)
    with pytest.raises(ValueError):
        pool.alloc_bulk(3, nbytes)
    with pytest.raises(ValueError):
        pool.free_offset(0, nbytes)
    assert pool.stats() == before


def test_a_block_takes_whole_granules(pool):
    for nbytes in (1, 63, 64, 65, 1000):
        block = pool.alloc(nbytes)
        assert pool.size - pool.avail == -(-nbytes // GRANULE) * GRANULE
        assert len(block) == nbytes
        block.free()


def test_zeroed_allocation(pool):
    block = pool.alloc(1000)
    with memoryview(block) as view:
        view[:] = b"\xff" * 1000
    offset = block.offset
    block.free()
    block = pool.alloc(1000, algo="fixed", data=offset, zero=True)
    assert bytes(block) == bytes(1000)


def test_zeroing_what_has_no_bytes_leaves_nothing_taken():
    pool = bare()
    with pytest.raises(BufferError):
        pool.alloc(GRANULE, zero=True)
    assert pool.avail == pool.size


# ---- bulk


@pytest.mark.parametrize("nbytes", [1, GRANULE, GRANULE + 1, 3 * GRANULE])
@pytest.mark.parametrize("nr", [0, 1, 7, 8, 9, 33])
def test_bulk(pool, nr, nbytes):
    offsets = pool.alloc_bulk(nr, nbytes)
    assert len(set(offsets)) == nr
    assert pool.size - pool.avail == nr * -(-nbytes // GRANULE) * GRANULE
    pool.free_bulk(offsets, nbytes)
    assert pool.avail == pool.size
    offsets = pool.alloc_bulk(nr, nbytes)
    pool.free_bulk(tuple(offsets[::-1]), nbytes)
    assert pool.avail == pool.size


def test_bulk_into_a_buffer(pool):
    out = array.array("Q", bytes(80))
    assert pool.alloc_bulk(10, GRANULE, out) == 10
    assert len(set(out)) == 10
    pool.free_bulk(out, GRANULE)
    assert pool.avail == pool.size
    assert pool.alloc_bulk(2, GRANULE, out) == 2
    pool.free_bulk(memoryview(out)[:2], GRANULE)
    assert pool.avail == pool.size


def test_bulk_is_all_or_nothing(pool):
    take(pool, 5)
    before = picture(pool)
    nr = pool.avail // GRANULE
    with pytest.raises(Exhausted):
        pool.alloc_bulk(nr + 1, GRANULE)
    assert picture(pool) == before
    offsets = pool.alloc_bulk(nr, GRANULE)
    assert pool.avail == 0
    pool.free_bulk(offsets, GRANULE)
    with pytest.raises((Exhausted, MemoryError, OverflowError)):
        pool.alloc_bulk(1 << 62, GRANULE)
    assert picture(pool) == before


def test_bulk_free_names_the_first_wrong_one(pool):
    offsets = pool.alloc_bulk(20, GRANULE)
    wrong = [*offsets[:9], offsets[3], *offsets[9:]]
    with pytest.raises(NotOwned, match=f"{offsets[3]:#x}"):
        pool.free_bulk(wrong, GRANULE)
    assert pool.size - pool.avail == 11 * GRANULE
    pool.free_bulk(offsets[9:], GRANULE)
    assert pool.avail == pool.size


def test_bulk_free_of_parts_of_a_block(pool):
    take(pool, 1)
    (offset,) = take(pool, 4)
    before = picture(pool)
    for start in range(4):
        with pytest.raises(NotOwned):
            pool.free_bulk([offset + i * GRANULE for i in range(start, 4)], GRANULE)
    assert picture(pool) == before


@pytest.mark.parametrize(
    "out", [array.array("I", [0] * 8), array.array("d", [0] * 4), bytes(80), "text", 7, [0] * 8, bytearray(79)]
)
def test_bulk_buffers_that_are_refused(pool, out):
    before = pool.stats()
    with pytest.raises((TypeError, ValueError, BufferError)):
        pool.alloc_bulk(10, GRANULE, out)
    assert pool.stats() == before


def test_bulk_frees_that_are_refused(pool):
    offsets = pool.alloc_bulk(4, GRANULE)
    for wrong in (
        array.array("I", [0] * 8),
        array.array("d", map(float, offsets)),
        {1, 2},
        7,
        ["a"],
        [1.5],
        [None],
        [TOP],
    ):
        with pytest.raises((TypeError, ValueError, BufferError, OverflowError)):
            pool.free_bulk(wrong, GRANULE)
    assert pool.size - pool.avail == 4 * GRANULE
    pool.free_bulk(offsets, GRANULE)


def test_bulk_free_of_any_sequence(pool):
    offsets = pool.alloc_bulk(4, GRANULE)

    class Offsets:
        def __len__(self):
            return len(offsets)

        def __getitem__(self, i):
            return offsets[i]

    pool.free_bulk(Offsets(), GRANULE)
    assert pool.avail == pool.size


# ---- handles, stats


def test_handles_share_the_pool(pool):
    handles = [pool.handle(), pool.handle().handle()]
    offsets = [handle.alloc_offset(GRANULE) for handle in handles]
    assert len(set(offsets)) == 2
    pool.free_bulk(offsets, GRANULE)
    assert [handle.avail for handle in handles] == [pool.size] * 2
    for handle in handles:
        blocks = []
        with pytest.raises(Exhausted):
            while True:
                blocks.append(handle.alloc(GRANULE))
        assert len(blocks) * GRANULE == pool.size


def test_a_handle_outlives_the_pool_object(arena):
    handle = arena.genpool("pool").handle()
    block = handle.alloc(GRANULE)
    del handle
    assert memoryview(block).nbytes == GRANULE


def test_stats(pool):
    import os

    take(pool, 10, -1, 3)
    stats = pool.stats()
    assert stats.size == pool.size
    assert stats.avail == pool.avail == pool.size - 13 * GRANULE
    assert stats.largest == pool.size - 14 * GRANULE
    assert (stats.granule, stats.chunks) == (GRANULE, 1)
    assert stats.holders == {os.getpid(): 13 * GRANULE}
    with pytest.raises(AttributeError):
        stats.size = 3


def test_the_largest_run_is_the_largest_block(pool):
    take(pool, 10, -40, 3)
    largest = pool.stats().largest
    with pytest.raises(Exhausted):
        pool.alloc(largest + 1)
    pool.alloc(largest)


def test_made_twice():
    pool = bare()
    with pytest.raises(TypeError):
        pool.__init__((0, 64), 64)


def test_repr(arena, pool):
    assert "'pool'" in repr(pool)
    assert "arena" in repr(pool)
    assert "foreign" in repr(bare())


def test_the_cycle_collector_may_clear_a_handle(pool):
    """It takes the handle's parent away before the handle goes: the pool's memory must not go with it."""

    class Ring:
        pass

    for _ in range(10):
        ring = Ring()
        ring.handle = pool.handle()
        ring.self = ring
        del ring
        gc.collect()
    pool.free_offset(pool.alloc_offset(GRANULE), GRANULE)


def test_made_by_new_alone(arena):
    pool = GenPool.__new__(GenPool)
    for call in (
        lambda: pool.alloc(1),
        lambda: pool.alloc(1, algo="best_fit"),
        lambda: pool.alloc_offset(1),
        lambda: pool.alloc_bulk(1, 1),
        lambda: pool.free_offset(0, 1),
        lambda: pool.free_bulk([0], 1),
        lambda: pool.handle(),
        lambda: pool.stats(),
        lambda: pool.chunks(),
        lambda: pool.avail,
        lambda: pool.grow(1),
        lambda: pool.add(bytearray(64)),
        lambda: pool.set_algo(None),
        lambda: pool.destroy(),
        lambda: pool.recall(),
        lambda: pool.device_address(0),
        lambda: pool.owner_of(0),
        lambda: pool._find_in(0, 1, 0),
    ):
        with pytest.raises((PoolError, ValueError)):
            call()
    assert (pool.size, pool.has_addr(0), pool.name) == (0, False, "")
    assert repr(pool)
    with pytest.raises(ValueError):
        GenPool.__init__(pool, (0, 64), 3)
    with pytest.raises(PoolError):
        pool.alloc(1)


def test_handles_start_far_from_each_other_even_before_the_pool_has_memory(arena):
    pool = arena.genpool("spread")
    handles = [pool.handle() for _ in range(4)]
    words = {handle.alloc_offset(64) // (64 * 8) for handle in handles}
    assert len(words) == len(handles)  # two in one word would fight for it
