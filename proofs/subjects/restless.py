"""Services whose images come out otherwise each time they are made, each for one reason; and one that does not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from anew.testing.rig import Rig

_UUID = "$(cat /proc/sys/kernel/random/uuid)"


@dataclass(frozen=True, slots=True)
class Case:
    """A build step, the path that it makes otherwise each time, and the cause that is to be named; "" for the same."""

    step: str
    path: str
    cause: str
    what: str = "content"


CASES: Mapping[str, Case] = MappingProxyType(
    {
        "random": Case(f"echo token={_UUID} > /srv/token", "srv/token", "it holds something random"),
        "day": Case("date --rfc-3339=ns > /srv/made", "srv/made", "it holds the time at which it was made"),
        "seconds": Case("date +%s%N > /srv/made", "srv/made", "it holds the time at which it was made"),
        "both": Case(f"echo $(date +%s.%N) {_UUID} > /srv/made", "srv/made", "it holds a time and something random"),
        "number": Case(
            "cut -d. -f1 /proc/uptime > /srv/n; sleep 1", "srv/n", "it holds a number that is another one each time"
        ),
        "processors": Case("nproc > /srv/n", "srv/n", "it holds a number that is another one each time"),
        "parallel": Case(
            "seq 300 | xargs -P 16 -n 1 sh -c 'echo $0' > /srv/list", "srv/list", "its lines come in another order"
        ),
        "unsorted": Case("seq 300 | shuf > /srv/list", "srv/list", "its lines come in another order"),
        "gzip": Case(
            "echo x > /srv/a; gzip /srv/a; sleep 1", "srv/a.gz", "the header of a compressed file holds the time"
        ),
        "zip": Case(
            'cd /srv; echo x > a; python3 -c \'import zipfile; zipfile.ZipFile("a.zip", "w").write("a")\'; sleep 2',
            "srv/a.zip",
            "an archive holds the times of its files",
        ),
        "compiled": Case(
            "cd /srv; echo 1 > a.py; env -u SOURCE_DATE_EPOCH python3 -m compileall -q -b a.py; sleep 1",
            "srv/a.pyc",
            "compiled Python holds the time of its source, unless told otherwise",
        ),
        "log": Case(
            "mkdir -p /srv/log; ls / > /srv/log/x.log; date +%N%N >> /srv/log/x.log",
            "srv/log/x.log",
            "a log tells when it was written",
        ),
        "cache": Case(
            f"mkdir -p /srv/.cache/x; echo {_UUID} > /srv/.cache/x/y",
            "srv/.cache/x/y",
            "a program's cache was left behind",
        ),
        "history": Case(
            f"mkdir -p /srv; echo {_UUID} > /srv/.bash_history", "srv/.bash_history", "a shell kept its history"
        ),
        "database": Case(
            f"mkdir -p /var/lib/mysql; echo server-uuid={_UUID} > /var/lib/mysql/auto.cnf",
            "var/lib/mysql/auto.cnf",
            "the package makes a database when it is installed, with a random identity",
        ),
        "key": Case(
            "mkdir -p /etc/ssl/private; openssl genrsa 2048 > /etc/ssl/private/ssl-cert-snakeoil.key 2>/dev/null",
            "etc/ssl/private/ssl-cert-snakeoil.key",
            "ssl-cert makes a key at random",
        ),
        "surroundings": Case("{ hostname; id; umask; pwd; env | sort; ls -U /srv; } > /srv/seen", "", ""),
    }
)


def write(project: Rig) -> None:
    """Write a project with a service for each case; none of them runs, so that nothing has to be waited for."""
    services = {
        name: {"os": "base", "build": [{"run": case.step}], "command": ["true"], "schedule": "0 3 1 1 *"}
        for name, case in CASES.items()
    }
    spec = {
        "project": project.project,
        "os": {"base": {"host": True}},
        "services": services,
        "environments": {"local": {"listen": f"127.0.0.1:{project.port}"}},
    }
    project.root.mkdir(parents=True)
    (project.root / "anew.yaml").write_text(json.dumps(spec))
