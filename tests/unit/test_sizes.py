import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mempools import sizes


@pytest.mark.parametrize(
    ("given_size", "nbytes"),
    [
        (1, 1),
        ("4096", 4096),
        ("64K", 65536),
        ("256M", 256 << 20),
        ("1g", 1 << 30),
        ("1.5G", 3 << 29),
        (" 2 MiB ", 2 << 20),
        ("1TB", 1 << 40),
        (True + 1, 2),
    ],
)
def test_parse(given_size, nbytes):
    assert sizes.parse(given_size) == nbytes


@pytest.mark.parametrize(
    "bad", ["", "M", "-1", "1.0000000001K", "1 X", "1e9", "0", 0, -5, 1 << 63, "9" * 30, "٣", "1_000"]
)
def test_parse_refuses(bad):
    with pytest.raises(ValueError, match="size"):
        sizes.parse(bad)


@pytest.mark.parametrize("bad", [None, 1.5, b"1M", True, []])
def test_parse_refuses_other_types(bad):
    with pytest.raises(TypeError):
        sizes.parse(bad)


def test_text():
    assert [sizes.text(n) for n in (0, 512, 1024, 1536, 256 << 20, 10 << 30, 1 << 50)] == [
        "0 B",
        "512 B",
        "1 KiB",
        "1.5 KiB",
        "256 MiB",
        "10 GiB",
        "1024 TiB",
    ]


@given(st.integers(1, 1 << 62))
def test_text_of_a_size_is_a_size(nbytes):
    text = sizes.text(nbytes)
    if text.endswith(" B") or "." not in text:
        assert abs(sizes.parse(text) - nbytes) <= nbytes * 0.006


@given(st.text(max_size=30))
def test_parse_of_anything_is_a_size_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert 0 < sizes.parse(text) <= 1 << 62
