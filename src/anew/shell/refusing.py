"""What `App` refuses before anything is done, and how it says so."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from anew.core.machine import BEFORE_FULL
from anew.errors import Conflict, NotFound, Unsupported

if TYPE_CHECKING:
    from anew.core.world import Allotment
    from anew.model import Environment, Release, Rollout, Scope, Spec


def refuse_host(release: Release, environment: Environment) -> None:
    """The machine's own root is no release for anywhere else, and no engine but the embedded one can run it."""
    hosts = sorted(part.service.name for part in release.parts if part.image.is_host)
    if hosts and (environment.name != "local" or environment.engine != "embedded"):
        is_elsewhere = environment.name != "local"
        engine = f"the engine {environment.engine} can't run that"
        why = f"{environment.name} is not `local`" if is_elsewhere else engine
        raise Unsupported(
            f"{release.name} stands on this machine's own root ({', '.join(hosts)}), and {why}",
            where="anew.yaml os",
            hint="write `debian: bookworm` for that head, and make a new release",
        )


def require_empty(scope: Scope, engine: str, left: Collection[Allotment], keeper: int) -> None:
    """Raise Conflict if an environment in which something runs is to move to another engine."""
    if left:
        raise Conflict(
            f"{scope} has {len(left)} instances on another engine than {engine}",
            where="anew.yaml environments",
            hint=f"`anew dispose -e {scope.environment}` first; then `anew up` brings it up on {engine}",
        )
    if keeper:
        raise Conflict(
            f"the keeper of {scope}, process {keeper}, acts on another engine than {engine}",
            hint="end it first; then `anew up` brings the environment up there",
        )


def environment_of(spec: Spec, name: str) -> Environment:
    """Return what the file says of an environment. Raises NotFound, with those that are there."""
    for environment in spec.environments:
        if environment.name == name:
            return environment
    known = ", ".join(e.name for e in spec.environments)
    raise NotFound(f"there is no environment {name!r}", where="anew.yaml environments", hint=f"there is: {known}")


def ways_out(rollout: Rollout) -> str:
    """Return what can be done about a rollout that is under way."""
    ways = ["wait for its end"]
    if rollout.phase in (*BEFORE_FULL, "full"):
        ways += ["`anew promote`", "`anew abort`"]
    if rollout.phase in BEFORE_FULL:
        ways.append("`anew up --supersede`")
    return ", or ".join(ways)


def require_idle(rollout: Rollout | None, *, supersede: bool) -> None:
    """Raise Conflict if a rollout is under way, unless it is one that may be superseded."""
    if rollout is None or rollout.phase not in (*BEFORE_FULL, "full", "rolling back"):
        return
    if supersede and rollout.phase in BEFORE_FULL and rollout.kind == "rollout":
        return  # the keeper takes its traffic away before it begins with what is wanted now
    raise busy(rollout, ways_out(rollout))


def busy(rollout: Rollout, hint: str) -> Conflict:
    """Return the error of what can't be done while a rollout is under way."""
    what = "going back from" if rollout.phase == "rolling back" else "rolling out"
    return Conflict(f"this environment is {what} g{rollout.new} ({rollout.phase})", hint=hint)
