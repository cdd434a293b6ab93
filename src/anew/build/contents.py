"""What the beginning of a file tells: keys, tokens and credentials. Pure; nothing of what is found is repeated."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from types import MappingProxyType

Told = Iterator[tuple[str, str]]  # rule, and what it is, for people

_SECRET_NAME = re.compile(
    r"(?:^|_)PASS(?:WD|PHRASE)?$|PASSWORD|SECRET|TOKENS?(?:_|$)|PRIVATE|CREDENTIAL|(?:API|ACCESS|AUTH)KEY|(?<!PUBLIC)_KEY$"
)
# What stands between the frame of a key and its digits can be read in one way only, or reading it all ways would take
# for ever: breaks, marks of a string, and whole header lines; then at most the beginning of a line with digits in it.
_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    rb"(?:\\[nr]|[\s\"'+,;(]|\\(?![nr])|[A-Za-z-]{2,20}: [^\n\\]{0,200}(?=[\n\\])){1,40}"
    rb"(?:[A-Za-z-]{2,20}: [^\n\\]{0,200}?)?[A-Za-z0-9+/=]{40}"
)
_TOKENS: tuple[tuple[bytes, re.Pattern[bytes], str], ...] = tuple(
    (needle, re.compile(pattern), what)
    for needle, pattern, what in (
        (b"AKIA", rb"(?<![A-Za-z0-9+/])AKIA[A-Z0-9]{16}(?![A-Za-z0-9+/=])", "an access key id of AWS"),
        (b"ASIA", rb"(?<![A-Za-z0-9+/])ASIA[A-Z0-9]{16}(?![A-Za-z0-9+/=])", "an access key id of AWS"),
        (b"ghp_", rb"\bghp_[A-Za-z0-9]{36}\b", "a token of GitHub"),
        (b"gho_", rb"\bgho_[A-Za-z0-9]{36}\b", "a token of GitHub"),
        (b"ghs_", rb"\bghs_[A-Za-z0-9]{36}\b", "a token of GitHub"),
        (b"github_pat_", rb"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b", "a token of GitHub"),
        (b"glpat-", rb"\bglpat-[A-Za-z0-9_-]{20}", "a token of GitLab"),
        (b"xox", rb"\bxox[abprs]-[0-9]{8,}-[A-Za-z0-9-]{16,}", "a token of Slack"),
        (b"sk_live_", rb"\b[sr]k_live_[A-Za-z0-9]{24,}", "a key of Stripe"),
        (b"rk_live_", rb"\b[sr]k_live_[A-Za-z0-9]{24,}", "a key of Stripe"),
        (b"npm_", rb"\bnpm_[A-Za-z0-9]{36}\b", "a token of npm"),
        (b"pypi-AgE", rb"\bpypi-AgE[A-Za-z0-9_-]{50,}", "a token of PyPI"),
    )
)
_MADE_UP = re.compile(rb"EXAMPLE|X{6}|0{8}|1234567|ABCDEFG|(.)\1{7}", re.IGNORECASE)
_REFERENCE = re.compile(r"^[\"']?(?:\$|<|%\(|\{\{|\*+$|x+$|changeme|your[-_ ])", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{0,19}://[^/\s:@]*:([^/\s@]+)@")
_ENV_SAMPLES = (".example", ".sample", ".dist", ".template", ".tmpl", ".defaults", ".schema")


def secrets(path: bytes, data: bytes) -> Told:
    """Yield the keys and tokens in the beginning of a file."""
    if b"PRIVATE KEY" in data and _KEY.search(data):
        yield "private-key", "a private key in PEM"
    if data.startswith(b"PuTTY-User-Key-File-"):
        yield "private-key", "a private key of PuTTY"
    if b"AGE-SECRET-KEY-1" in data and re.search(rb"AGE-SECRET-KEY-1[0-9A-Z]{58}", data):
        yield "private-key", "a private key of age"
    told: set[str] = set()
    for needle, pattern, what in _TOKENS:
        if needle not in data or what in told:
            continue
        if any(not _MADE_UP.search(found[0]) for found in pattern.finditer(data)):
            told.add(what)
            yield "access-token", what
    yield from _by_name(path, data)


def is_core(data: bytes) -> bool:
    """Say whether a file is the memory of a program: an ELF file of the type ET_CORE."""
    if len(data) < 18 or not data.startswith(b"\x7fELF"):
        return False
    return int.from_bytes(data[16:18], "little" if data[5] == 1 else "big") == 4


def _by_name(path: bytes, data: bytes) -> Told:
    folder, _, name = path.rpartition(b"/")
    look = _FILES.get(name.decode("ascii", "replace"))
    if look is not None:
        text = data.decode("utf-8", "replace")
        if look(text, folder.rpartition(b"/")[2].decode("utf-8", "replace")):
            yield "credentials-file", f"credentials of {_OWNERS[name.decode('ascii')]}"
    elif name == b".env" or (name.startswith(b".env.") and not name.decode("utf-8", "replace").endswith(_ENV_SAMPLES)):
        yield from _env(data.decode("utf-8", "replace"))


def _env(text: str) -> Told:
    pairs = dict(_assignments(text))
    secret = sorted(
        name
        for name, value in pairs.items()
        if not _REFERENCE.match(value) and (_SECRET_NAME.search(name.upper()) or _has_address(value, ""))
    )
    if secret:
        more = f" and {len(secret) - 1} more" if len(secret) > 1 else ""
        yield "env-secret", f"it sets {secret[0][:60]}{more}"
    elif pairs:
        yield "env-file", f"it sets {len(pairs)} variable{'s' if len(pairs) > 1 else ''}"


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        found = re.match(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(.*)", line)
        if found and found[2].strip().strip("\"'"):
            yield found[1], found[2].strip()


def _has_value(pattern: str) -> Callable[[str, str], bool]:
    compiled = re.compile(pattern, re.MULTILINE | re.IGNORECASE)

    def look(text: str, _folder: str) -> bool:
        return any(not _REFERENCE.match(found[1].strip()) for found in compiled.finditer(text))

    return look


def _has_address(text: str, _folder: str) -> bool:
    return any(not _REFERENCE.match(found[1]) for found in _IN_ADDRESS.finditer(text))


def _in_folder(name: str, look: Callable[[str, str], bool]) -> Callable[[str, str], bool]:
    return lambda text, folder: folder == name and look(text, folder)


def _docker(text: str, folder: str) -> bool:
    if folder != ".docker":
        return False
    try:
        said = json.loads(text)
        found = said.get("auths", {}).values()
        return any(one.get(key) for one in found for key in ("auth", "password", "identitytoken", "registrytoken"))
    except (ValueError, AttributeError, RecursionError):
        return '"auth"' in text


_FILES: MappingProxyType[str, Callable[[str, str], bool]] = MappingProxyType(
    {
        ".npmrc": _has_value(r"^[^\S\n]*[^#;\s]*(?:_authToken|_password|_auth)\s*=[ \t]*(\S.*)$"),
        ".yarnrc.yml": _has_value(r"^[^\S\n]*npmAuth(?:Token|Ident):[ \t]*(\S.*)$"),
        ".pypirc": _has_value(r"^[^\S\n]*password\s*[:=][ \t]*(\S.*)$"),
        ".netrc": _has_value(r"\bpassword\s+(\S+)"),
        "_netrc": _has_value(r"\bpassword\s+(\S+)"),
        ".pgpass": _has_value(r"^[^#\n:]+:[^:\n]*:[^:\n]*:[^:\n]*:(\S+)$"),
        ".git-credentials": _has_address,
        ".my.cnf": _has_value(r"^[^\S\n]*password\s*=[ \t]*(\S.*)$"),
        "credentials": _in_folder(".aws", _has_value(r"^[^\S\n]*aws_secret_access_key\s*=[ \t]*(\S+)")),
        "config.json": _docker,
        "pip.conf": _has_address,
        "config": _in_folder(".git", _has_address),
    }
)
_OWNERS: MappingProxyType[str, str] = MappingProxyType(
    {
        ".npmrc": "npm",
        ".yarnrc.yml": "Yarn",
        ".pypirc": "PyPI",
        ".netrc": "programs that fetch",
        "_netrc": "programs that fetch",
        ".pgpass": "PostgreSQL",
        ".git-credentials": "Git",
        ".my.cnf": "MySQL",
        "credentials": "AWS",
        "config.json": "a registry",
        "pip.conf": "pip",
        "config": "Git",
    }
)
