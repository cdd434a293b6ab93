"""What stands for systemctl while an image is built: links are made as systemd would, and nothing is started."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from building import need_root

import anew
from anew.sandbox import find

SHIMS = Path(anew.__file__).parent / "build" / "shims"
BEFORE = """
set -u
mkdir -p /etc/systemd/system /etc/init.d /run
cd /etc/systemd/system
printf '[Install]\\nWantedBy=multi-user.target  other.target\\nAlias=b.service\\nAlso=c.socket\\n' > a.service
printf '[Socket]\\nListenStream=1\\n[Install]\\nWantedBy=sockets.target\\n' > c.socket
printf '[Unit]\\nDescription=static\\n' > s.service
printf '[Install]\\nWantedBy=multi-user.target\\n' > t@.service
printf '[Install]\\nRequiredBy=r.target\\n[Service]\\nWantedBy=nothing.target\\n' > r.service
PATH=/shims:$PATH
"""


def said(script: str, tmp_path: Path) -> str:
    """Run a script where these units are, and return what it said."""
    need_root()
    program = str(find.bwrap(tmp_path / "bin"))
    argv = [
        *(program, "--ro-bind", "/", "/", "--tmpfs", "/etc", "--tmpfs", "/run", "--tmpfs", "/mnt", "--dev", "/dev"),
        *("--dir", "/mnt/shims", "--ro-bind", str(SHIMS), "/mnt/shims", "--", "/bin/sh", "-c"),
        BEFORE.replace("/shims:", "/mnt/shims:") + script,
    ]
    both = subprocess.STDOUT
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=both, text=True, check=False).stdout


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("systemctl is-enabled a", "disabled\n"),
        ("systemctl enable a.service; systemctl is-enabled a b c.socket", "enabled\nenabled\nenabled\n"),
        (
            "systemctl --quiet enable -- a; for one in *.wants/* b.service; do readlink $one; done",
            "/etc/systemd/system/a.service\n" * 2
            + "/etc/systemd/system/c.socket\n"
            + "/etc/systemd/system/a.service\n",
        ),
        (
            "systemctl enable a; systemctl disable a; ls -d *.wants; systemctl is-enabled a",
            "sockets.target.wants\ndisabled\n",
        ),
        (
            "systemctl enable r; ls r.target.requires; ls -d nothing*",
            "r.service\nls: cannot access 'nothing*': No such file or directory\n",
        ),
        ("systemctl enable t@one; ls multi-user.target.wants; systemctl is-enabled t@one", "t@one.service\nenabled\n"),
        (
            "readlink $(systemctl enable t@one; ls -d $PWD/multi-user.target.wants/*)",
            "/etc/systemd/system/t@.service\n",
        ),
        (
            "systemctl mask x; systemctl is-enabled x; systemctl unmask x; ls x.service; systemctl is-enabled s",
            "masked\nls: cannot access 'x.service': No such file or directory\nstatic\n",
        ),
        (
            "systemctl mask x; systemctl enable x",
            "Failed to enable unit: Unit file /etc/systemd/system/x.service is masked.\n",
        ),
        (
            "systemctl is-enabled nothing || echo $?",
            "Failed to get unit file state for nothing.service: No such file or directory\n1\n",
        ),
        ("systemctl enable nothing || echo $?", "Unit nothing.service could not be found.\n5\n"),
        ("systemctl start nothing || echo $?", "Unit nothing.service could not be found.\n5\n"),
        (
            "systemctl start a; systemctl reload-or-restart a s; cat /run/anew-told",
            "start a.service\nreload-or-restart a.service\nreload-or-restart s.service\n",
        ),
        ("systemctl enable --now a; cat /run/anew-told", "start a.service\n"),
        ("systemctl is-active a || echo $?", "inactive\n3\n"),
        ("systemctl show a --property=UnitFileState,LoadState", "LoadState=loaded\nUnitFileState=disabled\n"),
        ("systemctl show -p ActiveState --value a", "inactive\n"),
        ("systemctl show nothing | grep LoadState", "LoadState=not-found\n"),
        ("systemctl daemon-reload; systemctl is-system-running || echo $?", "offline\n1\n"),
        ("systemctl list-unit-files --type=service | grep '^a.service'", "a.service disabled\n"),
        ("systemctl set-default a; systemctl get-default", "a.service\n"),
        (
            "systemctl unheard-of a || echo $?",
            "systemctl unheard-of: nothing of that is done while an image is built\n1\n",
        ),
        (
            "service a restart; service a status || echo $?; cat /run/anew-told",
            "a is not running: services are not started while building\n3\nrestart a.service\n",
        ),
        ("policy-rc.d a start || echo $?", "101\n"),
    ],
)
def test_it_answers_as_systemd_would_and_starts_nothing(script: str, expected: str, tmp_path: Path) -> None:
    assert expected == said(script, tmp_path)
