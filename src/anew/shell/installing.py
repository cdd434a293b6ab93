"""The keeper of an environment as a service of the operating system: made, started, and taken away again."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from anew import views
from anew.errors import Conflict, EngineError, Unsupported
from anew.shell.app import App

if TYPE_CHECKING:
    from anew.model import Scope, Seconds
    from anew.ports import Say
    from anew.shell.keeperlock import KeeperLock
    from anew.shell.systemd import Systemd
    from anew.shell.unit import Unit

KEEPS_WITHIN: Seconds = 30.0  # from its start; measured: 0.4 s
LOOKS_EVERY: Seconds = 0.05


class InstallableApp(App):
    """Implements `anew.cases.Anew` for one project on this machine, where a keeper can be a service of systemd."""

    def install(
        self, environment: str, say: Say, *, below: Path | None = None, is_writing: bool = True
    ) -> views.Installed:
        """Let systemd run the keeper of an environment, now and whenever the machine starts.

        `below`: write it for the machine that this folder is the root of, and start nothing. With `is_writing` false
        only say what the unit would be.
        Idempotent. Blocks  until that keeper keeps, at most `KEEPS_WITHIN`; one that runs by itself is ended before.
        Raises  NotFound if nothing was ever brought up there; Conflict if the unit is somebody else's; Unsupported
                without systemd, and then nothing is written; EngineError if it does not start.
        """
        scope, row = self._existing(environment)
        from anew.shell.unit import Unit

        systemd = _at(below)
        unit = Unit(
            scope=scope,
            engine=row.settings.engine,
            home=self._home,
            root=self._root,
            python=Path(sys.executable),
            docker_host=os.environ.get("DOCKER_HOST", "") if row.settings.engine == "docker" else "",
            is_of_user=systemd.is_of_user,
        )
        path = systemd.place(unit.name)
        made = views.Installed(environment, unit.name, str(path), "shown", _notes(systemd), unit.text())
        if not is_writing:
            return made
        if below is None:
            _require(systemd, unit)
        is_new = _written(path, unit)
        if below is not None:
            _linked(systemd.link(unit.name, unit.target), unit.name)
            return replace(made, state="written")
        _begin(systemd, unit.name, self._lock(scope), say, is_new=is_new)
        return replace(made, state="runs")

    def uninstall(self, environment: str, say: Say, *, below: Path | None = None) -> views.Uninstalled:
        """Take the service of an environment's keeper away; what runs there goes on without it.

        A rollout that is under way gets a keeper of its own, which ends with it.
        Idempotent. Blocks  until the service has ended. Raises Conflict if the unit is somebody else's.
        """
        scope = self._scope(self._project(), environment)
        from anew.shell.unit import name_of, target_of

        systemd, name = _at(below), name_of(scope)
        path = systemd.place(name)
        if _owner(path) is None:
            return views.Uninstalled(environment, name, str(path), is_removed=False)
        _require_ours(path, scope.owner)
        is_live = below is None and not systemd.missing()
        if is_live:
            say(f"ending {name}")
            systemd.disable(name)
        _removed(systemd.link(name, target_of(is_of_user=systemd.is_of_user)))
        _removed(path)
        if is_live:
            systemd.reload()
            if self._journal.environment(scope.project, scope.environment) is not None:
                self._act(scope)
        return views.Uninstalled(environment, name, str(path), is_removed=True)


@dataclass(frozen=True, slots=True)
class Service:
    """The service by which the keeper of an environment runs on this machine."""

    systemd: Systemd
    name: str

    def start(self) -> Callable[[], bool]:
        """Start it, though it failed before; return who says whether it runs. Raises EngineError if it does not."""
        self.systemd.start(self.name)
        return lambda: self.systemd.main(self.name) > 0


def installed(scope: Scope) -> Service | None:
    """Return the service that `install` made for an environment; None if there is none that could be started."""
    from anew.shell.systemd import here
    from anew.shell.unit import name_of

    name, systemd = name_of(scope), here()
    if _owner(systemd.place(name)) != scope.owner or systemd.missing():
        return None
    return Service(systemd, name)


def _at(below: Path | None) -> Systemd:
    from anew.shell.systemd import here

    return here() if below is None else replace(here(), top=below.absolute())


def _notes(systemd: Systemd) -> tuple[str, ...]:
    if systemd.is_lingering():
        return ()
    return ("all of it ends when you log out, and starts when you log in, unless: loginctl enable-linger",)


def _require(systemd: Systemd, unit: Unit) -> None:
    missing = systemd.missing()
    if missing:
        raise Unsupported(
            f"the keeper can't be a service here: {missing}",
            hint="`--print` shows the unit, `--root FOLDER` writes it for another machine; or another supervisor runs "
            "this, so that nothing that it starts ends with it",
            facts={"command": shlex.join(["env", f"ANEW_HOME={unit.home}", *unit.command])},
        )


def _owner(path: Path) -> str | None:
    """Return whose a unit is, "" if it is not anew's; None if there is none."""
    from anew.shell.unit import owner_of

    try:
        return owner_of(path.read_text("utf-8", "replace"))
    except FileNotFoundError:
        return None
    except OSError as cause:
        hint = "units are files that everybody may read"
        raise Unsupported(f"the unit can't be read: {cause.strerror}", where=str(path), hint=hint) from cause


def _require_ours(path: Path, owner: str) -> None:
    found = _owner(path)
    if found not in {owner, None}:
        whose = "belongs to another state of anew" if found else "was not made by anew"
        raise Conflict(
            f"there is a unit of that name, which {whose}",
            where=str(path),
            hint="look at it, and move it away if nothing needs it; another state is named by ANEW_HOME",
        )


def _written(path: Path, unit: Unit) -> bool:
    """Make `path` hold the unit, whole or not at all; return whether it did not before."""
    text = unit.text()
    try:
        _require_ours(path, unit.scope.owner)
        if path.exists() and path.read_text("utf-8") == text:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        with fresh.open("w", encoding="utf-8") as out:
            os.fchmod(out.fileno(), 0o644)
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
    except OSError as cause:
        raise _unwritable(path, cause) from cause
    return True


def _removed(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as cause:
        raise Unsupported(f"it can't be removed: {cause.strerror}", where=str(path), hint="as root: rm it") from cause


def _linked(link: Path, name: str) -> None:
    """Make the link by which a target wants the unit: what `systemctl enable` does on a machine that runs."""
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(f"../{name}")
    except OSError as cause:
        raise _unwritable(link, cause) from cause


def _unwritable(path: Path, cause: OSError) -> Unsupported:
    hint = "it must be a folder that you may write to"
    return Unsupported(f"the unit can't be written: {cause.strerror}", where=str(path), hint=hint)


def _begin(systemd: Systemd, name: str, lock: KeeperLock, say: Say, *, is_new: bool) -> None:
    """Hand the environment over to the service, and wait until it keeps."""
    from anew.shell.keeperlock import end_keeper

    systemd.reload()
    systemd.enable(name)
    holder, main = lock.holder(), systemd.main(name)
    if holder > 0 and holder != main:
        say(f"ending the keeper that runs by itself, process {holder}; what it keeps goes on")
        end_keeper(lock, holder)
    systemd.start(name, is_anew=is_new)
    end = time.monotonic() + KEEPS_WITHIN
    while lock.holder() <= 0 or lock.holder() != systemd.main(name):
        if time.monotonic() > end:
            raise EngineError(
                f"{name} was started, and its keeper does not keep",
                hint=f"look at: {systemd.log_of(name)}",
                facts={"command": shlex.join(systemd.argv("status", name))},
            )
        time.sleep(LOOKS_EVERY)
