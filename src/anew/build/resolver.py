"""Which packages a Debian suite has today, asked through apt, and their files, fetched into the image store.

apt is given folders of its own: it neither sees nor changes what this machine has installed, and needs no root.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from anew.build import apt, debian, packages, suites
from anew.build.blobs import Blobs
from anew.build.drafts import scratch
from anew.build.epoch import PATH, architecture
from anew.build.packages import Package
from anew.build.programs import Ended, dying, streamed
from anew.core.digest import PREFIX
from anew.errors import AnewError, Conflict, EngineError, SpecError, Unsupported
from anew.model import DebianHead
from anew.ports import Say

ALWAYS = ("?essential", "?priority(required)", "apt")  # what a head has besides the packages that are named
_URI = re.compile(r"'[^']+' (\S+\.deb) (\d+) SHA256:([0-9a-f]{64})")
_NO_PACKAGE = re.compile(
    r"E: (?:Unable to locate package (\S+)|Package '([^']+)' has no installation candidate"
    r"|Couldn't find any package by (?:glob|regex) '([^']+)')"
)
_NO_VERSION = re.compile(r"E: Version '([^']*)' for '([^']+)' was not found")
_NO_SUITE = re.compile(r"does not have a Release file|E: cannot determine mirror|unknown suite")
_NO_KEY = re.compile(r"NO_PUBKEY|is not signed|EXPKEYSIG|BADSIG|no valid OpenPGP")
_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy")
_FOLDERS = ("state/lists/partial", "cache/archives/partial", "etc")


@dataclass(frozen=True, slots=True)
class Archive:
    """The packages of a head's suite as they are today."""

    head: DebianHead
    blobs: Blobs
    folder: Path
    say: Say

    def today(self) -> tuple[Package, ...]:
        """Return what the head consists of now, dependencies too, sorted; nothing is fetched.

        Raises  SpecError for a package that there is not; EngineError with apt's last lines for anything else.
        """
        lines: list[str] = []
        self._ask(["install", "--print-uris", "--", *ALWAYS, *sorted(set(self.head.packages))], lines.append)
        found = (_URI.fullmatch(line.strip()) for line in lines)
        return tuple(sorted(packages.of_file(one[1], PREFIX + one[3], int(one[2])) for one in found if one))

    def fetch(self, wanted: Sequence[Package]) -> None:
        """Have the files of all these packages in the store; those that are there are not fetched again.

        Raises  Conflict if the archive has one of them no more; EngineError as `today`.
        """
        missing = [one for one in wanted if not self.blobs.are_whole([one.digest])]
        if not missing:
            return
        self.say(f"fetching {len(missing)} packages, {sum(one.size for one in missing) / 1e6:.1f} MB")
        exact = [f"{one.name}:{one.architecture}={one.version}".replace(":all=", "=") for one in missing]
        self._ask(["download", "--", *exact], self.say)
        for one in missing:
            packages.keep(one, self.folder / one.file_name, self.blobs)

    def update(self) -> None:
        """Read the archive's lists. Raises SpecError if it has no such suite; EngineError as `today`."""
        self._ask(["update"], self.say)

    def _ask(self, arguments: Sequence[str], say: Say) -> None:
        argv = ["apt-get", "--quiet", "--quiet", "--yes", *arguments]
        environment = {"PATH": os.environ.get("PATH", PATH), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        environment |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment["APT_CONFIG"] = str(self.folder / "apt.conf")
        ended = streamed(dying(argv), environment, say, self.folder)
        if ended.code != 0:
            raise _failure(self.head, argv, ended)


@contextmanager
def archive(head: DebianHead, project: Path, blobs: Blobs, work: Path, say: Say) -> Iterator[Archive]:
    """Ask the archive of a head's suite what it has; what is yielded is valid inside the block.

    Raises  Unsupported without apt; as `anew.build.suites.sources`; as `Archive.update`.
    """
    debian.mode_of(head)
    if shutil.which("apt-get") is None:
        raise Unsupported(
            "apt-get is not installed, and it resolves the packages of heads",
            where=f"anew.yaml os.{head.name}.{head.distribution}",
            hint="it comes with Debian and Ubuntu; `os: {base: {host: true}}` or a tar archive work without it",
        )
    sources = suites.sources(head, project)
    title = suites.TITLES[head.distribution]
    say(f"resolving head {head.name}: {title} {head.suite}, {len(head.packages)} named packages")
    with scratch(work) as folder:
        for name in _FOLDERS:
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        (folder / "etc" / "sources.list").write_text("\n".join((*sources, "")), encoding="utf-8")
        (folder / "apt.conf").write_text(_settings(folder), encoding="utf-8")
        one = Archive(head, blobs, folder, say)
        one.update()
        yield one


def _settings(folder: Path) -> str:
    settings = {
        "Dir::State": f"{folder}/state",
        "Dir::State::status": f"{folder}/status",
        "Dir::Cache": f"{folder}/cache",
        "Dir::Etc::SourceList": f"{folder}/etc/sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::Etc::Parts": "/dev/null",
        "Dir::Etc::Main": "/dev/null",
        "APT::Architecture": architecture(),
        "APT::Architectures": architecture(),
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "APT::Get::Assume-Yes": "true",
        "APT::Update::Error-Mode": "any",  # a list that can't be had must fail the build, not thin it out
        "Acquire::Languages": "none",
        "Acquire::ForceHash": "SHA256",
        "Debug::NoLocking": "true",
    }
    lines = [f'{name} "{value}";' for name, value in settings.items()]
    lines += [f'Acquire::http::Proxy::{host} "DIRECT";' for host in ("localhost", "127.0.0.1")]
    return "\n".join((*lines, *(f"{option};" for option in apt.proxy_options()), ""))


def _failure(head: DebianHead, argv: list[str], ended: Ended) -> AnewError:
    facts = {"command": shlex.join(argv), "exit": str(ended.code), "output": ended.output}
    missing = [next(filter(None, found)) for found in _NO_PACKAGE.findall(ended.output)]
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        return SpecError(
            f"{suites.TITLES[head.distribution]} {head.suite} has no package {names}",
            where=f"anew.yaml os.{head.name}.packages",
            hint=f"correct the name; `apt-cache search {missing[0]}` lists what there is",
            facts=facts,
        )
    if gone := _NO_VERSION.findall(ended.output):
        told = ", ".join(f"{name} {version}" for version, name in gone)
        return Conflict(
            f"the head {head.name} can't be made as it was locked: the archive has no more {told}",
            where=f"anew.lock heads.{head.name}",
            hint="copy the image store of whoever built it; or accept what there is now: anew build --update",
            facts=facts,
        )
    if _NO_SUITE.search(ended.output):
        return suites.unknown(head, facts)
    if _NO_KEY.search(ended.output):
        return EngineError(
            f"the packages of the head {head.name} are not signed by a key that is trusted for them",
            where=f"anew.yaml os.{head.name}",
            hint="name the key of the archive: `keyring: FILE` beside `mirror:`; or install the package that has it",
            facts=facts,
        )
    return EngineError(
        f"resolving the head {head.name} failed: apt-get ended with exit code {ended.code}",
        where=f"anew.yaml os.{head.name}",
        hint="see its last lines; can this machine reach the sources of its packages?",
        facts=facts,
    )
