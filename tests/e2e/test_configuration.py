"""The examples of configuration management: they come up, and two machines' worth of difference makes no difference."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anew.testing.rig import Rig

pytestmark = pytest.mark.timeout(900)  # two heads of Debian packages each, and the same again for a proof

EXAMPLES = Path(__file__).parents[2] / "examples"
GREETINGS = {"ansible": "Set up by Ansible", "puppet": "Set up by Puppet"}


@pytest.fixture(autouse=True)
def _needs() -> None:
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        pytest.skip("making a Debian head needs root and mmdebstrap")


def written(target: Path, example: str, port: int) -> None:
    """Copy an example file by file, the last one first."""
    for path in sorted((EXAMPLES / example).rglob("*"), reverse=True):
        if path.is_file():
            copy = target / path.relative_to(EXAMPLES / example)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    spec = target / "anew.yaml"
    spec.write_text(spec.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{port}"))


def page(port: int, host: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/", headers={"Host": host})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    assert answer.status == 200, body
    return body


@pytest.mark.parametrize("example", GREETINGS)
def test_an_example_comes_up_and_is_the_same_image_everywhere(project: Rig, example: str, tmp_path: Path) -> None:
    written(project.root, example, project.port)
    project.expect("up", limit=800)
    try:
        assert GREETINGS[example] in page(project.port, f"{example}.example.com")
        said = project.expect(
            "run", "web", "--", "sh", "-c", "ls -d /run/control /etc/ansible /etc/puppet /opt 2>&1; id site"
        )
        assert "(site)" in said
        assert "/opt\n" in said
        assert said.count("No such file") == 3
    finally:
        project.expect("dispose")
    (built,) = json.loads(project.expect("build", "--json"))
    assert built["is_reused"]
    assert built["steps_reused"] == built["steps"]
    assert [one["head"] for one in built["heads"]] == ["base", f"bookworm/{example}"]
    assert built["manifest"] == elsewhere(project, example, tmp_path)
    if example == "puppet":  # of a playbook, what was recorded is looked at without an engine
        require_proved(project)


def require_proved(project: Rig) -> None:
    (proved,) = json.loads(project.expect("rebuild", "--offline", "--json", limit=800))
    assert proved["verdict"] == "identical"


def elsewhere(project: Rig, example: str, folder: Path) -> str:
    """Build in another home and folder, under another host name, locale, time zone and umask; return the digest."""
    root, home = folder / ("x" * 60) / "elsewhere", folder / "home"
    written(root, example, 1)
    shutil.copy(project.root / "anew.lock", root)
    # The heads are the same, whose own proof is another test's matter; of what was made from them nothing is there.
    forgotten = shutil.ignore_patterns("records", "checkpoints", "listings", "trees", "locks", "drafts")
    shutil.copytree(project.home / "images", home / "images", ignore=forgotten)
    script = f'hostname elsewhere; umask 077; cd /; exec "$0" -m anew -C {root} build --json'
    environment = {**os.environ, "ANEW_HOME": str(home), "TZ": "Asia/Tokyo", "LC_ALL": "C", "LANG": "tr_TR.UTF-8"}
    told = subprocess.run(
        ["unshare", "--uts", "sh", "-c", script, sys.executable],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "running services.web.build[0] (site)" in told.stderr
    (built,) = json.loads(told.stdout)
    return str(built["manifest"])
