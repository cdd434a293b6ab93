"""What is said of this machine, and of the engines that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from anew.engines import registry
from anew.engines.embedded.doctor import checks
from anew.errors import NotFound, Unsupported


def test_everything_is_looked_at_and_what_is_not_well_has_a_hint(tmp_path: Path) -> None:
    found = checks(tmp_path)
    names = [one.name for one in found]
    assert names == [
        *("state folder", "bubblewrap", "user namespaces", "overlays"),
        *("uids", "limits", "haproxy", "mmdebstrap", "*.localhost", "ports"),
    ]
    assert all(one.detail for one in found)
    assert all(one.hint for one in found if one.state == "missing")


def test_a_state_folder_that_is_not_there_yet_is_judged_by_where_it_would_lie(tmp_path: Path) -> None:
    state = checks(tmp_path / "not" / "yet")[0]
    assert str(tmp_path / "not" / "yet") in state.detail
    assert state.state != "missing"


def test_a_designed_engine_is_unsupported_and_an_unknown_one_not_found() -> None:
    assert registry.check("embedded") == "embedded"
    with pytest.raises(Unsupported, match="kubernetes"):
        registry.check("kubernetes", where="anew.yaml:3")
    with pytest.raises(NotFound, match="heroku"):
        registry.check("heroku")
