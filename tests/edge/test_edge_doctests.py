from __future__ import annotations

import doctest

from anew.edge import buckets, counters, judged, live, section, slots, sticky
from anew.testing import conformance_edge


def test_the_examples_in_docstrings_hold() -> None:
    for module in (buckets, counters, judged, live, section, slots, sticky, conformance_edge):
        result = doctest.testmod(module)
        assert result.attempted
        assert not result.failed
