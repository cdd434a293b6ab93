from __future__ import annotations

from figures.figure import Count, Section, Table
from figures.page import ORDER, text


def test_a_section_shows_its_tables_behind_its_counts() -> None:
    table = Table("Two of them", ("name", "size"), (("one", "1"), ("two", "2")))
    lines = text(Section("canary", "Canaries", "How.", counts=(Count("seen", "3"),), tables=(table,))).splitlines()
    assert lines[:2] == ["<!-- canary -->", "## Canaries"]
    assert lines[-6:] == ["*Two of them*", "", "| name | size |", "|---|---|", "| one | 1 |", "| two | 2 |"]
    assert lines.index("| seen | 3 |  |") < lines.index("*Two of them*")
    assert "canary" in ORDER
