"""Where this machine's own apt gets packages from, so that a head is made from the same place."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

APT = Path("/etc/apt")
_PARTS = ("", "-updates", "-security", "/updates", "-backports")
_PROXIES = ("Acquire::http::Proxy", "Acquire::https::Proxy")


def source_lines(suite: str, folder: Path = APT) -> tuple[str, ...]:
    """Return the lines (``deb [options] URI SUITE COMPONENT…``) that this machine's apt has for a suite.

    Updates and security come with it; backports don't. Empty if apt knows nothing of the suite, or there is no apt.
    """
    wanted = {suite + part for part in _PARTS[:-1]}
    found: list[str] = []
    for path in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]:
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix == ".list":
            found += _one_line(text, wanted)
        elif path.suffix == ".sources":
            found += _stanzas(text, wanted)
    lines = tuple(dict.fromkeys(found))
    # Updates alone, without the suite itself, can't make a system.
    return lines if any(f" {suite} " in line for line in lines) else ()


def usual_lines(suite: str) -> tuple[str, ...]:
    """Return the lines that mmdebstrap takes for a suite if it is told none; empty if it knows nothing of it either."""
    if shutil.which("mmdebstrap") is None:
        return ()
    # A system of no packages whose only act is to show its sources.
    argv = ["mmdebstrap", "--variant=custom", "--skip=update,cleanup", "--format=null", "--quiet"]
    done = subprocess.run(
        [*argv, '--customize-hook=cat "$1/etc/apt/sources.list"', suite, "-"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return tuple(line for line in done.stdout.splitlines() if line.startswith("deb "))


def _one_line(text: str, wanted: set[str]) -> Iterator[str]:
    for raw in text.splitlines():
        line = raw.partition("#")[0].strip()
        if not line.startswith(("deb ", "deb\t")):
            continue
        rest, options = line[4:].strip(), ""
        if rest.startswith("["):
            options, _, rest = rest[1:].partition("]")
        uri, suite, *components = rest.split()
        if suite in wanted:
            yield _line(_signed_by(dict(o.split("=", 1) for o in options.split() if "=" in o)), uri, suite, components)


def _stanzas(text: str, wanted: set[str]) -> Iterator[str]:
    for stanza in text.split("\n\n"):
        fields: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[last] = f"{fields.get(last, '')} {line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                last = name.strip().lower()
                fields[last] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                if suite in wanted:
                    yield _line(_signed_by(fields), uri, suite, fields.get("components", "").split())


def _signed_by(options: Mapping[str, str]) -> str:
    keyring = options.get("signed-by", "")
    # A key that stands in the file itself, and not in a keyring, can't be said in one line.
    return f"[signed-by={keyring}] " if keyring.startswith("/") and " " not in keyring else ""


def _line(options: str, uri: str, suite: str, components: list[str]) -> str:
    return f"deb {options}{uri} {suite} {' '.join(components)}"


def proxy_options() -> tuple[str, ...]:
    """Return apt's own settings of proxies on this machine, as options that apt takes."""
    try:
        dump = subprocess.run(
            ["apt-config", "dump", "--format", "%f=%v%n", *_PROXIES], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ()
    pairs = (line.split("=", 1) for line in dump.stdout.splitlines() if "=" in line)
    return tuple(f'{name} "{value}"' for name, value in pairs if value and name in _PROXIES)
