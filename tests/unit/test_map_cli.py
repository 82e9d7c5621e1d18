"""`mempools map`: the picture in the terminal and in files; and the drawing of it."""

import json
import os
import random
import re
import runpy
import struct
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import mempools as mp
from mempools.edges import arenamap, cli, maptext
from mempools.edges.drawing import Drawing, Rect, Text, shortened
from mempools.layout.proctable import Process
from mempools.objects.observing import RESERVE, STRUCT, memory_of, pools_seen, zspages_seen
from mempools.picture import FREE, Granules, Picture, PoolPicture, Region

PAGE = 4096


@pytest.fixture
def run(capfdbinary):
    def call(*argv):
        try:
            status = cli.main([os.fspath(arg) for arg in argv])
        except SystemExit as error:
            status = error.code
        out, err = capfdbinary.readouterr()
        return status, out.decode(), err.decode()

    return call


@pytest.fixture
def named():
    with mp.Arena.create("t", "1M") as arena:
        pool = arena.genpool("blocks", granule=4096)
        arena.mempool("frames", nbytes="4K", min_nr=4)
        block = pool.alloc(12 << 10)
        yield arena
        block.free()
        mp.Arena.unlink("t")


def fake(nr_pools=3, nr_processes=3):
    """A picture with one pool after the other, a dead process, and all that there can be."""
    regions, pools, at = [Region(0, 11 * PAGE, "page map")], [], 11 * PAGE
    processes = tuple(Process(slot, 4_000_000 + slot, 1, 1, slot != 2) for slot in range(1, nr_processes + 1))
    for i in range(nr_pools):
        name = f"pool number {i} " + "with a long name " * (i % 4)
        owners = bytes([FREE, RESERVE, STRUCT, *range(1, nr_processes + 1), 99] * 20)
        granules = Granules(at, 1024, owners + bytes(-len(owners) % 4), 5)
        regions.append(Region(at, granules.nbytes, "blocks", name, granules))
        by_owner = granules.by_owner
        pools.append(
            PoolPicture(name, "genpool", 1024, False, granules.nbytes, granules.nbytes, 5, by_owner, (granules,), {})
        )
        at += granules.nbytes
    regions += [Region(at, 4 * PAGE, "taking"), Region(at + 4 * PAGE, 900 * PAGE, "free")]
    return Picture("fake", "0" * 32, regions[-1].end, tuple(regions), tuple(pools), processes)


# ---- files


def test_svg_is_one_well_formed_file_that_names_what_there_is(named, run, tmp_path):
    path = tmp_path / "map.svg"
    assert run("map", "t", "-o", path) == (0, "", "")
    text = path.read_text()
    root = ET.fromstring(text)
    assert root.get("width") == "1200"
    words = "".join(root.itertext())
    assert "Arena t" in words and "blocks" in words and "frames" in words and f"process {os.getpid()}" in words
    assert "pool blocks: blocks" in words  # what hovering shows


def test_html_needs_nothing_else(named, run, tmp_path):
    path = tmp_path / "map.html"
    assert run("map", "t", "-o", path) == (0, "", "")
    text = path.read_text()
    assert text.startswith("<!doctype html>") and "<svg" in text and "<title>pool blocks" in text
    assert not re.search(r"<script|<link|@import|src=|href=|url\((?!#)", text)
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}


def test_png(named, run, tmp_path):
    pytest.importorskip("PIL")
    path = tmp_path / "map.PNG"
    assert run("map", "t", "-o", path) == (0, "", "")
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n") and struct.unpack(">I", data[16:20]) == (1200,)


def test_png_has_the_colours_of_the_drawing():
    image = pytest.importorskip("PIL.Image")
    import io

    drawing = Drawing(40, 20, "t", [Rect(0, 0, 40, 20, "#ffffff"), Rect(4, 4, 8, 8, "#0072b2", hatch="#ffffff")])
    drawing.parts.append(Rect(20, 4, 0.2, 8, "#d55e00"))  # however narrow, it shows
    shown = image.open(io.BytesIO(drawing.png()))
    assert shown.size == (40, 20) and shown.getpixel((20, 5)) == (0xD5, 0x5E, 0)
    assert {shown.getpixel((x, y)) for x in range(4, 12) for y in range(4, 12)} == {(0, 0x72, 0xB2), (255, 255, 255)}


def test_png_without_pillow_names_the_extra(named, run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    status, out, err = run("map", "t", "-o", tmp_path / "map.png")
    assert (status, out) == (1, "") and "pip install 'mempools[png]'" in err
    assert not (tmp_path / "map.png").exists()


def test_json(named, run, tmp_path):
    path = tmp_path / "map.json"
    assert run("map", "t", "-o", path) == (0, "", "")
    status, out, _ = run("map", "t", "--json")
    found = json.loads(out)
    assert status == 0 and found == json.loads(path.read_text())
    assert sum(region["bytes"] for region in found["regions"]) == found["arena_bytes"] == 1 << 20
    (blocks,) = (pool for pool in found["pools"] if pool["name"] == "blocks")
    assert blocks["bytes_by_owner"][f"process {os.getpid()}"] == 12 << 10
    assert found["processes"] == [{"pid": os.getpid(), "alive": True, "bytes": 12 << 10}]


# ---- errors


def test_errors(named, run, tmp_path):
    assert run("map", "tt")[::2] == (1, "mempools: no arena 'tt'; did you mean 't'?\n")
    status, _, err = run("map", "t", "-o", tmp_path / "map.gif")
    assert status == 1 and "written as .png, .svg, .html or .json" in err
    status, _, err = run("map", "t", "-o", tmp_path / "none" / "map.svg")
    assert status == 1 and "No such file" in err


# ---- the terminal


def test_without_a_terminal_plain_text_that_fits(named, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "64")
    status, out, err = run("map", "t")
    rows = out.splitlines()
    assert (status, err) == (0, "") and "\x1b" not in out
    assert rows[0] == f"arena t, 1 MiB, {arenamap.percent(1048576 - named.stats().free_bytes, 1 << 20)} in use"
    cells = "".join(rows[2 : rows.index("")])
    assert len(cells) == 256 and cells.startswith("########AA")
    assert cells.count(".") * PAGE == named.stats().free_bytes and {"A", "a", "B"} <= set(cells)
    assert any(re.match(r" A  blocks +genpool +\d+ KiB +[\d.]+ % ", row) for row in rows)


@pytest.mark.parametrize("width", [40, 63, 80, 200])
@pytest.mark.parametrize("colour", [False, True])
def test_no_line_is_wider_than_the_terminal(width, colour):
    rows = list(maptext.lines(fake(30, 5), width, colour))
    bare = [re.sub(r"\x1b\[[0-9;]*m", "", row) for row in rows]
    assert max(map(len, bare)) <= width
    assert colour == any("\x1b" in row for row in rows)
    assert all(row.count("\x1b[0m") * 2 == row.count("\x1b") for row in rows)
    assert any("dead" in row for row in bare)


class Terminal:
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colours_on_a_terminal(variables, wanted, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert maptext.wants_colour(Terminal()) is wanted


# ---- the drawing


@pytest.mark.parametrize(("nr_pools", "nr_processes"), [(0, 0), (1, 1), (3, 3), (20, 12)])
def test_no_text_overlaps_another_or_leaves_the_picture(nr_pools, nr_processes):
    drawing = arenamap.draw(fake(nr_pools, nr_processes))
    texts = [part for part in drawing.parts if isinstance(part, Text)]
    boxes = []
    for text in texts:
        left = text.x - text.width if text.end else text.x
        boxes.append((left, left + text.width, text.y - text.size * 0.8, text.y + text.size * 0.2, text.text))
    assert all(left >= 0 and right <= drawing.width and bottom <= drawing.height for left, right, _, bottom, _ in boxes)
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            apart = one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]
            assert apart, (one, other)


def test_every_holder_of_a_piece_is_drawn():
    seen = fake(1, 3)
    drawing = arenamap.draw(seen)
    titles = {part.title for part in drawing.parts if isinstance(part, Rect)}
    for owner in seen.by_owner:
        assert any(seen.owner(owner) + "," in title for title in titles), owner
    assert any(part.hatch and part.fill == arenamap.DEAD for part in drawing.parts if isinstance(part, Rect))


def test_cells_cover_the_arena_and_show_what_has_most():
    seen = fake()
    shown = list(arenamap.cells(seen, PAGE))
    assert len(shown) == seen.nbytes // PAGE
    for i, (region, taken) in enumerate(shown):
        assert region.offset < (i + 1) * PAGE and region.end > i * PAGE and 0 <= taken <= 1
    assert len(list(arenamap.cells(seen, 64 * PAGE))) == -(-seen.nbytes // (64 * PAGE))


def test_pieces_are_the_whole_pool():
    granules = (Granules(0, 8, b"\0\1\1\2" * 100, 1), Granules(9999, 8, b"\1" * 3, 1))
    for nr in (1, 2, 7, 1000):
        found = arenamap.pieces(granules, nr)
        total = {}
        for mix in found:
            for owner, nbytes in mix.items():
                total[owner] = total.get(owner, 0) + nbytes
        assert total == {0: 800, 1: 1600 + 24, 2: 800}


def test_numbers_in_words():
    assert [arenamap.percent(part, 1000) for part in (0, 0.5, 1, 99, 100, 1000)] == [
        "0 %", "<0.1 %", "0.1 %", "9.9 %", "10 %", "100 %"
    ]  # fmt: skip
    assert arenamap.percent(1, 0) == "0 %"
    assert [shortened("abcdef", nr) for nr in (6, 5, 1)] == ["abcdef", "abcd…", "…"]
    assert arenamap.mixed("#0072b2", 1.0) == "#0072b2" and arenamap.mixed("#0072b2", 0.0) == "#ffffff"


def test_the_figure_of_the_documentation_is_up_to_date():
    folder = Path(__file__).parents[2] / "docs" / "figures"
    for name, text in runpy.run_path(str(folder / "arena.py"))["FIGURES"].items():
        assert (folder / name).read_text() == text, "run `python docs/figures/arena.py`"


# ---- zspages


@pytest.fixture
def objects():
    """A pool of three classes; of the middle one every second object has been freed."""
    with mp.Arena.create("z", "2M") as arena:
        pool = arena.zspool("objects")
        handles = [pool.alloc(1000) for _ in range(200)]
        others = [pool.alloc(3000), pool.alloc(20_000)]
        for handle in handles[::2]:
            pool.free(handle)
        yield pool
        for handle in handles[1::2] + others:
            pool.free(handle)
        mp.Arena.unlink("z")


def test_how_full_each_zspage_is(objects):
    (pool,) = objects.arena.picture().pools
    table = {row.size: row for row in objects.class_table() if row.pages_used}
    rows = arenamap.class_rows(pool)
    assert {row.slot_nbytes for row in rows} == set(table)
    for row in rows:
        info = table[row.slot_nbytes]
        assert (len(row.inuse) * row.objs, sum(row.inuse)) == (info.obj_allocated, info.obj_used)
        assert (row.pages, row.objs) == (info.pages_per_zspage, info.objs_per_zspage)
        assert row.freeable == info.freeable * PAGE
    assert pool.counters["objects"] == 102
    assert pool.counters["nr_alloc"] == objects.stats().nr_alloc == 202
    # Free slots count as free where pages are drawn; the pool's tables do not.
    used = sum(round(z.nbytes * z.inuse / z.objs) for z in pool.zspages)
    tables = pool.by_owner[STRUCT] - sum(z.nbytes for z in pool.zspages)
    taken = sum(granules.taken(granules.address, granules.nbytes) for granules in pool.granules)
    assert taken == pytest.approx(used + tables, abs=sum(1 for _ in pool.zspages))


def test_zspages_in_every_form(objects, run, tmp_path):
    status, text, err = run("map", "z")
    assert (status, err) == (0, "")
    assert re.search(r"^objects: \d+ zspages, \d+ % of slots in use, \d+ KiB to gain", text, re.MULTILINE)
    assert re.search(r"^ +1 KiB +\d+ x \d+ KiB +\d+ % full █?[▁▂▃▄▅▆▇█]+$", text, re.MULTILINE)
    assert run("map", "z", "-o", tmp_path / "z.svg")[0] == 0
    svg = (tmp_path / "z.svg").read_text()
    assert "How full the zspages of objects are" in svg and "slots in use</title>" in svg
    status, text, _ = run("map", "z", "--json")
    (pool,) = json.loads(text)["pools"]
    assert sum(zspage["inuse"] for zspage in pool["zspages"]) == 102


def test_many_classes_are_summed_up(run):
    with mp.Arena.create("z", "4M") as arena:
        pool = arena.zspool("objects")
        handles = [pool.alloc(nbytes) for nbytes in range(100, 3000, 150)]
        picture = arena.picture()
        more = len(arenamap.class_rows(picture.pools[0])) - arenamap.MAX_CLASSES
        assert more > 0
        assert f" and {more} classes more" in list(maptext.lines(picture, 80, False))
        assert f"and {more} classes more: " in arenamap.draw(picture).svg()
        for handle in handles:
            pool.free(handle)
    mp.Arena.unlink("z")


def test_a_zspool_of_garbage_is_drawn_all_the_same(objects):
    """Descriptors of any content: what they say is held against the arena's and the class's bounds."""
    arena = objects.arena
    read = memory_of(arena._mapping)
    (seen,) = [pool for pool in pools_seen(read, arena.nbytes) if pool.index]
    root = bytearray(read(seen.root_nbytes, seen.root))
    whole = zspages_seen(read, arena.nbytes, bytes(root))
    assert len(whole) == objects.stats().zspages
    dice = random.Random(3)
    for _ in range(300):
        garbage = bytearray(root)
        at = dice.randrange(len(root) - 600)
        garbage[at : at + 512] = dice.randbytes(512)
        for zspage in zspages_seen(read, arena.nbytes, bytes(garbage)):
            assert 0 <= zspage.offset <= arena.nbytes - zspage.nbytes and zspage.inuse <= zspage.objs
    for size in (0, 1, 100, 1000):
        assert zspages_seen(read, arena.nbytes, bytes(root[:size])) == []
