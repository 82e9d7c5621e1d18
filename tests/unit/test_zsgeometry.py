"""The size classes of a ZsPool: every vector of the kernel's arithmetic for pages of 4096 bytes."""

import re

import pytest

from mempools import Arena

# chain: distinct classes, slot of the largest shared class, smallest object with pages of its own
CHAINS = {
    4: (69, 3264, 3257),
    5: (86, 3408, 3401),
    6: (94, 3504, 3497),
    7: (110, 3584, 3577),
    8: (119, 3632, 3625),
    12: (159, 3776, 3769),
    16: (192, 3840, 3833),
}

REQUESTS = {
    1: (32, 1, 128),
    24: (32, 1, 128),
    25: (48, 3, 256),
    100: (112, 7, 256),
    500: (512, 1, 8),
    1000: (1024, 1, 4),
    1568: (1584, 7, 18),
    2000: (2048, 1, 2),
    3000: (3072, 3, 4),
    3264: (3408, 5, 6),
    3624: (3632, 8, 9),
    3625: (4096, 1, 1),
    4096: (4096, 1, 1),
}

# raw index:size/pages/objects of every class that leads, chain 8
LEADERS = """
0:32/1/128 1:48/3/256 2:64/1/64 3:80/5/256 4:96/3/128 5:112/7/256 6:128/1/32 7:144/7/199 8:160/5/128 9:176/4/93
10:192/3/64 11:208/3/59 12:224/7/128 13:240/1/17 14:256/1/16 15:272/1/15 16:288/5/71 17:304/7/94 18:320/5/64 19:336/6/73
20:352/8/93 21:368/8/89 22:384/3/32 23:400/5/51 24:416/6/59 25:432/7/66 26:448/7/64 27:464/5/44 28:480/2/17 29:496/4/33
30:512/1/8 31:528/4/31 32:544/2/15 33:560/7/51 34:576/1/7 35:592/8/55 36:608/7/47 37:624/2/13 38:640/5/32 39:656/5/31
40:672/1/6 41:688/8/47 42:704/5/29 43:720/3/17 44:736/2/11 45:752/7/38 46:768/3/16 47:784/5/26 49:816/1/5 50:832/8/39
51:848/5/24 52:864/7/33 53:880/8/37 54:896/7/32 55:912/7/31 56:928/5/22 57:944/3/13 58:960/4/17 59:976/6/25 60:992/8/33
62:1024/1/4 64:1056/8/31 65:1072/5/19 66:1088/4/15 67:1104/3/11 68:1120/8/29 69:1136/5/18 71:1168/2/7 72:1184/7/24
73:1200/5/17 74:1216/3/10 75:1232/7/23 76:1248/4/13 78:1280/5/16 79:1296/7/22 83:1360/1/3 87:1424/8/23 88:1440/6/17
89:1456/5/14 91:1488/4/11 92:1504/7/19 94:1536/3/8 95:1552/8/21 96:1568/5/13 97:1584/7/18 100:1632/2/5 103:1680/7/17
104:1696/5/12 105:1712/8/19 107:1744/3/7 110:1792/7/16 111:1808/4/9 114:1856/5/11 116:1888/6/13 117:1904/7/15
118:1920/8/17 126:2048/1/2 134:2176/8/15 135:2192/7/13 137:2224/6/11 140:2272/5/9 144:2336/4/7 147:2384/7/12 151:2448/3/5
155:2512/8/13 158:2560/5/8 160:2592/7/11 168:2720/2/3 177:2864/7/10 180:2912/5/7 184:2976/8/11 190:3072/3/4 197:3184/7/9
202:3264/4/5 211:3408/5/6 217:3504/6/7 222:3584/7/8 225:3632/8/9 254:4096/1/1
"""


@pytest.fixture(scope="module")
def pools():
    with Arena("4M") as arena:
        yield {chain: arena.zspool(f"chain {chain}", chain=chain) for chain in range(4, 17)}


def shapes(pool):
    return [(row.size, row.pages_per_zspage, row.objs_per_zspage) for row in pool.class_table()]


def of_a_page(pool):
    return [shape for shape in shapes(pool) if shape[0] <= 4096]


@pytest.mark.parametrize("chain", CHAINS)
def test_classes_by_chain(pools, chain):
    classes, shared, huge = CHAINS[chain]
    found = of_a_page(pools[chain])
    assert len(found) == classes
    assert max(size for size, pages, objs in found if pages != 1 and objs != 1) == shared
    assert pools[chain].huge_class_size == huge
    assert pools[chain].chain == chain


def test_every_leader(pools):
    expected = {
        int(raw): (int(size), int(pages), int(objs))
        for raw, size, pages, objs in re.findall(r"(\d+):(\d+)/(\d+)/(\d+)", LEADERS)
    }
    assert len(expected) == 119
    assert all(32 + 16 * raw == shape[0] for raw, shape in expected.items())
    assert of_a_page(pools[8]) == list(expected.values())


@pytest.mark.parametrize("nbytes", REQUESTS)
def test_requests(pools, nbytes):
    assert pools[8].class_of(nbytes) == REQUESTS[nbytes]


def test_every_size_has_the_smallest_class_with_room(pools):
    pool = pools[8]
    found = shapes(pool)
    for nbytes in range(1, 65537, 7):
        shape = pool.class_of(nbytes)
        assert shape in found
        header = 0 if shape[2] == 1 else 8
        assert nbytes + header <= shape[0]
        for size, _, objs in found:
            if size < shape[0]:
                assert nbytes + (0 if objs == 1 else 8) > size


@pytest.mark.parametrize("chain", range(4, 17))
def test_a_slot_has_eight_bits(pools, chain):
    for size, pages, objs in shapes(pools[chain]):
        assert objs <= 256
        assert pages <= 16
        assert objs == pages * 4096 // size


def test_beyond_a_page(pools):
    large = [shape for shape in shapes(pools[8]) if shape[0] > 4096]
    assert (5120, 5, 4) in large
    assert (6144, 3, 2) in large
    assert (8192, 2, 1) in large
    assert (65536, 16, 1) in large
    waste = [1 - size * objs / (pages * 4096) for size, pages, objs in large]
    assert max(waste) < 0.06


@pytest.mark.parametrize("nbytes", [0, 65537, 2**64 - 1])
def test_sizes_that_no_class_has(pools, nbytes):
    with pytest.raises(ValueError, match="1 to 65536 bytes"):
        pools[8].class_of(nbytes)
    with pytest.raises(ValueError, match="1 to 65536 bytes"):
        pools[8].alloc(nbytes)
