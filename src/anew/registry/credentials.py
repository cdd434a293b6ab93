"""Who we are at a registry, read from what `docker login` and its kin write: never asked for, never shown.

Files, the first that knows the registry counts: `$REGISTRY_AUTH_FILE` alone if it is set; else `config.json` in
`$DOCKER_CONFIG`; `containers/auth.json` in `$XDG_RUNTIME_DIR` and in the user's configuration; `~/.docker/config.json`.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anew.core.reference import Repository
from anew.errors import EngineError, SpecError

_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_PATIENCE = 60  # seconds for a helper: it may ask a keyring
_TOKEN_USER = "<token>"  # noqa: S105 - how helpers say that the secret is an identity token


@dataclass(frozen=True, slots=True)
class Credential:
    """A user and a password; or an identity token, which buys others; or a token that is shown as it is."""

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)
    origin: str = field(default="", compare=False)  # the file that it comes from

    @property
    def basic(self) -> str:
        """The value of a header; "" without a user."""
        if not self.user:
            return ""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")


def credential(repository: Repository, environment: Mapping[str, str] = os.environ) -> Credential | None:
    """Return who we are at a repository; None: nobody.

    Raises  SpecError for a file that can't be understood; EngineError for a helper that fails.
    """
    for path in _files(environment):
        said = _read(path)
        found = _of_file(said, repository, path) if said is not None else None
        if found is not None:
            return replace(found, origin=str(path))
    return None


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    if named := environment.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
        return
    home = Path(environment.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - HOME may be given to us
    docker = environment.get("DOCKER_CONFIG")
    if docker:
        yield Path(docker, "config.json")
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers", "auth.json")
    yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "containers", "auth.json")
    if not docker:
        yield home / ".docker" / "config.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        said = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as cause:
        hint = "let this user read it, or name another one in $REGISTRY_AUTH_FILE"
        raise SpecError(f"{path.name} can't be read: {cause.strerror}", where=str(path), hint=hint) from cause
    except (ValueError, RecursionError):  # its text is not shown with the cause: it holds passwords
        said = None
    if not isinstance(said, dict):
        raise SpecError(
            f"{path.name} is not the JSON that `docker login` writes", where=str(path), hint="mend it, or log in again"
        ) from None
    return said


def _of_file(said: Mapping[str, Any], repository: Repository, path: Path) -> Credential | None:
    helpers = said.get("credHelpers")
    if isinstance(helpers, dict) and isinstance(name := helpers.get(repository.host), str):
        return _helped(name, repository.host, path)
    auths = said.get("auths")
    known = {_key(key): one for key, one in auths.items() if isinstance(one, dict)} if isinstance(auths, dict) else {}
    for key in _keys(repository):
        if (one := known.get(key)) and (found := _entry(one, path)):
            return found
    store = said.get("credsStore")
    return _helped(store, repository.host, path) if isinstance(store, str) and store else None


def _key(key: str) -> str:
    """Return a key without what old programs wrote around the host: ``https://HOST/v1/``."""
    bare = re.sub(r"^https?://", "", key)
    return (bare if bare == key else bare.partition("/")[0]).rstrip("/").lower()


def _keys(repository: Repository) -> Iterator[str]:
    """Yield what an entry for a repository may be called, the nearest first."""
    key = str(repository)
    while "/" in key:
        yield key
        key = key.rpartition("/")[0]
    yield key


def _entry(one: Mapping[str, Any], path: Path) -> Credential | None:
    if isinstance(bearer := one.get("registrytoken"), str) and bearer:
        if not bearer.isascii() or not bearer.isprintable():
            raise SpecError("a `registrytoken` is no token", where=str(path), hint="log in again")
        return Credential(bearer=bearer)
    user, password = one.get("username"), one.get("password")
    if isinstance(text := one.get("auth"), str) and text:
        try:
            user, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
        except ValueError:
            colon = ""
        if not colon:
            raise SpecError("an `auth` is not the base64 of user:password", where=str(path), hint="log in again")
        password = str(password).strip("\0")
    if isinstance(identity := one.get("identitytoken"), str) and identity:
        return Credential(identity=identity)
    return Credential(user, password) if isinstance(user, str) and user and isinstance(password, str) else None


def _helped(name: str, host: str, path: Path) -> Credential | None:
    program = f"docker-credential-{name}"
    if not _HELPER.match(name):
        raise SpecError(f"{name!r} can't be the name of a helper", where=str(path), hint="correct it")
    hint = "install it, or take it out of the file"
    try:
        done = subprocess.run(
            [program, "get"], input=host, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except FileNotFoundError as cause:
        raise EngineError(f"{program} is not installed, and it keeps the logins", where=str(path), hint=hint) from cause
    except OSError as cause:
        raise EngineError(f"{program} can't be run: {cause.strerror}", where=str(path), hint=hint) from cause
    except subprocess.TimeoutExpired:
        raise EngineError(f"{program} does not answer", where=str(path), hint=hint) from None
    except UnicodeDecodeError:
        raise EngineError(f"{program} gave an answer that can't be read", where=str(path), hint=hint) from None
    if done.returncode != 0:
        if "not found" in done.stdout + done.stderr:
            return None
        code = str(done.returncode)
        facts = {"command": f"echo {host} | {program} get", "exit": code}
        raise EngineError(f"{program} failed", where=str(path), hint="run it by hand to see why", facts=facts)
    try:
        told = json.loads(done.stdout)
        user, secret = str(told["Username"]), str(told["Secret"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise EngineError(f"{program} gave an answer that can't be read", where=str(path), hint=hint) from None
    return Credential(identity=secret) if user == _TOKEN_USER else Credential(user, secret)
