"""Where nobody comes, the keeper's own requests decide."""

from __future__ import annotations

import json

from anew.testing.rig import Rig

PROBED = "[{get: /cart, every: 100ms}], judge: {acceptable: 10%}, on_undecided: rollback"


def test_probes_decide_a_service_without_any_traffic(project: Rig) -> None:
    project.at_most = f"20s, probes: {PROBED}"
    project.write("one")
    project.expect("up")
    project.write("two")
    project.expect("up")
    assert project.status()["serving"] == "g2"
    assert "not worse than acceptable" in project.expect("history", "-n", "50")
    project.wait(project.is_idle, limit=20, what="the warm window is over")
    project.write("three", bad=50)
    done = project.anew("up", "--json")
    assert done.returncode == 6, done.stdout + done.stderr
    assert "worse than tolerated" in json.loads(done.stdout)["error"]["what"]
    assert project.status()["serving"] == "g2"
