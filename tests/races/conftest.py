"""The re-creations are built once for these tests."""

import pytest
import recreations

from mempools.check import scenarios


@pytest.fixture(scope="session")
def programs() -> None:
    if reason := recreations.why_not():
        pytest.skip(reason)
    recreations.load()
    scenarios.load()
