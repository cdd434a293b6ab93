from __future__ import annotations

import doctest

from anew.edge import buckets, listeners, section, slots
from anew.testing import conformance_edge


def test_the_examples_in_docstrings_hold() -> None:
    for module in (buckets, listeners, section, slots, conformance_edge):
        result = doctest.testmod(module)
        assert result.attempted
        assert not result.failed
