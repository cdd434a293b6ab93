"""The unit by which systemd runs the keeper of an environment, as text. Nothing is read or written here.

Rules

1. The keeper ends, and nothing else does: instances and the edge of the embedded engine are processes in the unit's
   control group, so `KillMode=process`; and one that the kernel ends for want of memory ends alone (`OOMPolicy`).
2. What a keeper starts sees what a command of a person sees: no part of the file system is hidden or made private, and
   the unit limits nothing, since its limits would be those of every instance.
3. A keeper that failed is started again, at a bounded rate and without an end. One that was asked to end stays ended.
4. The unit says whose it is. Nothing but that state changes or removes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from anew.model import Scope

MARK = "[X-Anew]\nState="  # systemd leaves sections alone whose names begin so
PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CONTAINERS = "docker.service docker.socket podman.socket"
_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+\Z")

TEXT = """\
# Made by `anew install`, which writes it again, and removed by `anew uninstall`; what is added belongs into a drop-in.
[Unit]
Description=anew: the keeper of {scope}
{order}RequiresMountsFor={mounts}
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=:{command}
WorkingDirectory=/
Environment={environment}
Restart=on-failure
RestartSec=5s
TimeoutStopSec=90s
KillMode=process
OOMPolicy=continue
TasksMax=infinity

[Install]
WantedBy={wanted_by}

{mark}{owner}
"""


@dataclass(frozen=True, slots=True)
class Unit:
    """All that the unit of one keeper is made of."""

    scope: Scope
    engine: str
    home: Path  # anew's state folder
    root: Path  # the project
    python: Path  # the interpreter that anew is installed for
    docker_host: str = ""  # as it was set where it was asked for; "": not set
    is_of_user: bool = False  # of a user's own service manager, not of the machine's

    @property
    def name(self) -> str:
        """Its name, which no unit of another environment has.

        >>> Unit(Scope("shop", "production"), "docker", Path("/s"), Path("/p"), Path("/usr/bin/python3")).name
        'anew-shop.production.service'
        """
        return name_of(self.scope)

    @property
    def target(self) -> str:
        """The unit that starts it."""
        return target_of(is_of_user=self.is_of_user)

    @property
    def command(self) -> tuple[str, ...]:
        """What runs the keeper."""
        return (
            *(str(self.python), "-m", "anew", "-C", str(self.root)),
            *("serve", "--environment", self.scope.environment),
        )

    @property
    def environment(self) -> tuple[tuple[str, str], ...]:
        """The variables that it needs; it has few others."""
        own = (("ANEW_HOME", str(self.home)), ("PATH", f"{self.python.parent}:{PROGRAMS}"))
        return (*own, *((("DOCKER_HOST", self.docker_host),) if self.docker_host else ()))

    def text(self) -> str:
        """Return the file."""
        return TEXT.format(
            scope=self.scope,
            order=self._order(),
            mounts=_words(map(str, (self.home, self.root, self.python.parent))),
            command=_words(self.command),
            environment=_words(f"{name}={value}" for name, value in self.environment),
            wanted_by=self.target,
            mark=MARK,
            owner=self.scope.owner,
        )

    def _order(self) -> str:
        if self.is_of_user:
            return ""  # a user's service manager knows nothing of the network
        after = "network-online.target" + (f" {CONTAINERS}" if self.engine == "docker" else "")
        return f"Wants=network-online.target\nAfter={after}\n"


def name_of(scope: Scope) -> str:
    """Return the name of the unit of an environment's keeper."""
    return f"anew-{scope.project}.{scope.environment}.service"


def target_of(*, is_of_user: bool) -> str:
    """Return the unit that starts everything of a service manager."""
    return "default.target" if is_of_user else "multi-user.target"


def owner_of(text: str) -> str:
    r"""Return the id of the state that a unit belongs to; "" if anew did not make it.

    >>> owner_of("[Service]\nType=exec\n\n[X-Anew]\nState=s1\n")
    's1'
    """
    return text.partition(MARK)[2].partition("\n")[0]


def quoted(word: str) -> str:
    r"""Return a word as systemd reads it back.

    Source  systemd.syntax(7), "Quoting"; systemd.unit(5), "Specifiers".

    >>> quoted("/a b/50%"), quoted("/plain")
    ('"/a b/50%%"', '/plain')
    """
    if _PLAIN.match(word):
        return word
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + "".join(one if one.isprintable() else _escaped(one) for one in plain) + '"'


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def _words(words: Iterable[str]) -> str:
    return " ".join(map(quoted, words))
