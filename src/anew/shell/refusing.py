"""What `App` refuses before anything is done, and how it says so."""

from __future__ import annotations

from anew.errors import Conflict, NotFound, Unsupported
from anew.model import Environment, Release, Rollout, Spec


def refuse_host(release: Release, environment: str) -> None:
    """The machine's own root is no release for anywhere else."""
    hosts = sorted(part.service.name for part in release.parts if part.image.is_host)
    if hosts and environment != "local":
        raise Unsupported(
            f"{release.name} stands on this machine's own root ({', '.join(hosts)}), and {environment} is not `local`",
            where="anew.yaml os",
            hint="write `debian: bookworm` for that head, and make a new release",
        )


def environment_of(spec: Spec, name: str) -> Environment:
    """Return what the file says of an environment. Raises NotFound, with those that are there."""
    for environment in spec.environments:
        if environment.name == name:
            return environment
    known = ", ".join(e.name for e in spec.environments)
    raise NotFound(f"there is no environment {name!r}", where="anew.yaml environments", hint=f"there is: {known}")


def busy(rollout: Rollout, hint: str) -> Conflict:
    """Return the error of what can't be done while a rollout is under way."""
    what = "going back from" if rollout.phase == "rolling back" else "rolling out"
    return Conflict(f"this environment is {what} g{rollout.new} ({rollout.phase})", hint=hint)
