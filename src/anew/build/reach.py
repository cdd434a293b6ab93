"""This machine's way to the network, as its user has set it up, for the build steps that say `network: true`.

Rules: it comes as environment variables and as files below `/run`, so that nothing of it becomes part of an image; and
it is no part of a step's key, because the same step through another mirror is the same step. Of the settings of pip
and npm only those that say where packages come from are passed on: one that names a folder of this machine would only
break the step.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from anew.errors import SpecError

PLACE = "/run/reach"  # in the sandbox

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
_PASSED = (
    *_PROXIES,
    *(name.upper() for name in _PROXIES),
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_PROXY", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES"),
    *("npm_config_registry", "NPM_CONFIG_REGISTRY", "npm_config_strict_ssl", "NPM_CONFIG_STRICT_SSL"),
)
# Each program has a variable of its own for the certificates that it trusts; all are read here, and all are set there.
_TRUST = (
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
)
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")
_PIP_KEYS = frozenset({"index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries"})
_NPM_KEYS = re.compile(r"\s*(?:(?:@[^:=\s]+:)?registry|//[^=]+|(?:https?-)?proxy|noproxy|strict-ssl|ca(?:\[\])?)\s*=")
_CAFILE = re.compile(r"^\s*(?:cafile|cert)\s*=\s*[\"']?(/[^\"'\n]*?)[\"']?\s*$", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{(\w+)\}")  # npm puts in what the environment holds


@dataclass(frozen=True, slots=True)
class Reach:
    """What a step is given: a folder to be bound at `PLACE`, None if it would be empty, and variables."""

    folder: Path | None
    environment: Mapping[str, str]


def reach(folder: Path, environ: Mapping[str, str], home: Path) -> Reach:
    """Write what this user's programs are told about the network into `folder`, which must be private.

    `environ` and `home` are the user's own.
    Raises  SpecError for a settings file of pip that pip could not read either.
    """
    settings = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    pip_files = [Path("/etc/pip.conf"), home / ".pip/pip.conf", settings / "pip/pip.conf"]
    npm_files = [Path("/etc/npmrc"), Path("/usr/etc/npmrc"), home / ".npmrc"]
    for name, paths in (("PIP_CONFIG_FILE", pip_files), ("NPM_CONFIG_USERCONFIG", npm_files)):
        paths.extend(Path(one) for one in (environ.get(name),) if one)
    texts = {path: _text(path) for path in (*pip_files, *npm_files)}
    files = {
        "certificates.pem": _certificates(environ, texts.values()),
        "pip.conf": _pip({path: texts[path] for path in pip_files}),
        "npmrc": _npm([texts[path] for path in npm_files], environ),
    }
    passed = {name: environ[name] for name in _PASSED if environ.get(name)}
    variables = {"pip.conf": ("PIP_CONFIG_FILE",), "npmrc": ("NPM_CONFIG_USERCONFIG",), "certificates.pem": _TRUST}
    for name, text in files.items():
        if text:
            (folder / name).write_text(text, encoding="utf-8")
            passed |= dict.fromkeys(variables[name], f"{PLACE}/{name}")
    return Reach(folder if any(files.values()) else None, passed)


def _text(path: Path) -> str:
    """Return what a file says; "" if it is not there, or not for us to read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
        return ""


def _certificates(environ: Mapping[str, str], settings: Iterable[str]) -> str:
    """Return all certificates that this machine, its environment and the settings trust, as one text."""
    named = [environ[name] for name in _TRUST if environ.get(name)]
    named += [path for text in settings for path in _CAFILE.findall(text)]
    bundle = next((path for path in _BUNDLES if Path(path).is_file()), None)
    paths = dict.fromkeys(Path(path).resolve() for path in (*([bundle] if bundle else ()), *named))
    return "".join(text if text.endswith("\n") else f"{text}\n" for text in map(_text, paths) if text)


def _pip(texts: Mapping[Path, str]) -> str:
    """Return the settings of several files as one, the later ones first in rank."""
    merged: dict[str, dict[str, str]] = {}
    for path, text in texts.items():
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(text)
        except configparser.Error as cause:
            hint = "correct it; `pip config debug` shows which files pip reads"
            raise SpecError("pip's settings can't be read", where=str(path), hint=hint) from cause
        for section in parser.sections():
            known = {key.replace("_", "-"): _elsewhere(value) for key, value in parser.items(section)}
            merged.setdefault(section, {}).update({key: v for key, v in known.items() if v and key in _PIP_KEYS})
    lines: list[str] = []
    for section, known in merged.items():
        if known:
            lines += [f"[{section}]", *(f"{key} = {value}" for key, value in known.items()), ""]
    return "\n".join(lines)


def _elsewhere(value: str) -> str:
    """Return the words of a setting without those that name a folder of this machine."""
    return " ".join(word for word in value.split() if not word.startswith(("file:", "/")))


def _npm(texts: list[str], environ: Mapping[str, str]) -> str:
    lines = [line for text in texts for line in text.splitlines() if _NPM_KEYS.match(line)]
    return "".join(_VARIABLE.sub(lambda found: environ.get(found[1], found[0]), line) + "\n" for line in lines)
