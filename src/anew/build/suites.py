"""Where the packages of a head come from: the suites that are known by name, and the sources of each.

In this order: the head's own `mirror`; the folder that ``$ANEW_APT`` names, which is like ``/etc/apt``; this machine's
``/etc/apt``; and what mmdebstrap takes for a suite if it is told nothing: it knows the archives of Debian and Ubuntu,
and that of Ubuntu's other architectures.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from anew.build import apt
from anew.errors import SpecError, Unsupported
from anew.model import DebianHead

VARIABLE = "ANEW_APT"
_UBUNTU_KEYRING = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")
TITLES: Mapping[str, str] = MappingProxyType({"debian": "Debian", "ubuntu": "Ubuntu"})
SUITES: Mapping[str, tuple[str, ...]] = MappingProxyType(  # for hints: an archive may have others
    {
        "debian": ("buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid", "stable", "testing", "unstable"),
        "ubuntu": (
            "xenial",
            "bionic",
            "focal",
            "jammy",
            "mantic",
            "noble",
            "oracular",
            "plucky",
            "questing",
            "resolute",
        ),
    }
)
_COMPONENTS = re.compile(r" main$")


def sources(head: DebianHead, project: Path) -> tuple[str, ...]:
    """Return the lines of apt's sources for a head: at least one.

    Raises  SpecError for a suite that nobody knows, or a keyring that is not there; Unsupported for Ubuntu's own
            archive without its keys.
    """
    if head.mirror:
        return _mirrored(head, project)
    named = os.environ.get(VARIABLE)
    lines = apt.source_lines(head.suite, Path(named)) if named else apt.source_lines(head.suite)
    if lines:
        return lines
    if named:
        raise SpecError(
            f"the folder that ${VARIABLE} names has no source for {head.suite}",
            where=named,
            hint=f"it is like /etc/apt: write `deb URL {head.suite} main` into its sources.list",
        )
    return _usual(head)


def known_sources(head: DebianHead, project: Path) -> tuple[str, ...]:
    """Return the sources for a head that build steps with network are told; () where the image has to know them."""
    if head.mirror:
        return _mirrored(head, project)
    named = os.environ.get(VARIABLE)
    return apt.source_lines(head.suite, Path(named)) if named else apt.source_lines(head.suite)


def unknown(head: DebianHead, facts: Mapping[str, str] = MappingProxyType({})) -> SpecError:
    """Return the error for a suite that there is not, with the names that may be meant."""
    title = TITLES[head.distribution]
    others = [name for name, suites in SUITES.items() if head.suite in suites and name != head.distribution]
    if others:
        hint = f"{head.suite} is one of {TITLES[others[0]]}: write `{others[0]}: {head.suite}`"
    else:
        near = get_close_matches(head.suite, SUITES[head.distribution], n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there is: {', '.join(SUITES[head.distribution])}"
        hint += "; another archive is named with `mirror:`"
    what = f"there is no {title} suite {head.suite} where packages come from"
    return SpecError(what, where=f"anew.yaml os.{head.name}.{head.distribution}", hint=hint, facts=facts)


def _mirrored(head: DebianHead, project: Path) -> tuple[str, ...]:
    option = ""
    if head.keyring:
        keyring = project / head.keyring
        if not keyring.is_file():
            raise SpecError(
                f"there is no keyring {head.keyring}",
                where=f"anew.yaml os.{head.name}.keyring",
                hint=f"put it there, or correct the path (in {project})",
            )
        if re.search(r"[\s\]]", os.fspath(keyring)):
            raise SpecError(
                "apt can't read a keyring whose path has blanks or brackets",
                where=f"anew.yaml os.{head.name}.keyring",
                hint="move the project to another folder",
                facts={"path": os.fspath(keyring)},
            )
        option = f"[signed-by={keyring}] "
    elif head.distribution == "ubuntu" and _UBUNTU_KEYRING.is_file():
        option = f"[signed-by={_UBUNTU_KEYRING}] "
    return tuple(f"deb {option}{line}" for line in head.mirror)


def _usual(head: DebianHead) -> tuple[str, ...]:
    others = {suite for name, suites in SUITES.items() if name != head.distribution for suite in suites}
    if head.suite in others or (head.distribution == "ubuntu" and head.suite not in SUITES["ubuntu"]):
        raise unknown(head)
    lines = apt.usual_lines(head.suite)
    if head.distribution == "ubuntu":
        if not _UBUNTU_KEYRING.is_file():
            raise Unsupported(
                "the keys of Ubuntu's archive are not installed, so nobody can tell whether its packages are genuine",
                where=f"anew.yaml os.{head.name}.ubuntu",
                hint="apt-get install ubuntu-keyring (or ubuntu-archive-keyring); or name a `mirror:` and `keyring:`",
                facts={"missing": str(_UBUNTU_KEYRING)},
            )
        lines = tuple(_COMPONENTS.sub(" main universe", line) for line in lines)
    if not lines:
        raise unknown(head)
    return lines
