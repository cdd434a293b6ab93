"""The kinds of value that a spec is made of: how each is written, and what it means."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from anew.core import reference
from anew.core.names import is_label
from anew.core.spec.amounts import is_number
from anew.core.spec.wrong import NOT_YET, wrong
from anew.errors import SpecError
from anew.model.hygiene import RULES, UNUSED

_FLAG = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z")  # Debian Policy, section 5.6.1
_SUITE = re.compile(r"[a-z][a-z0-9-]*\Z")
_SOURCE = re.compile(r"(?:https?|file|copy)://?\S+(?: [A-Za-z0-9][A-Za-z0-9./_-]*){2,}\Z")
_URL = re.compile(r"https?://([^/?#]+)/")
_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_PUBLIC_KEY = re.compile(r"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{43}( .*)?\Z")  # as OpenSSH writes it
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_MODE = re.compile(r"0?[0-7]{3}\Z|[0-7]{4}\Z")
_OWNER = re.compile(r"(?:[a-z_][a-z0-9_.-]*|[0-9]{1,9})(?::(?:[a-z_][a-z0-9_.-]*|[0-9]{1,9}))?\Z")
_STICKY = re.compile(r"(?:none|cookie|address|header:[0-9A-Za-z][0-9A-Za-z._-]{0,99})\Z")
_SECRET = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
GROUP_LIKE = re.compile(r".*-g[0-9]+\Z")
_REPLACED = ("/proc", "/sys", "/dev", "/tmp", "/run")  # noqa: S108 - names what an instance hides, opens nothing

_NAMING = "a name is lower-case letters, digits and hyphens, begins with a letter, has at most 63"

NAME = "name"  # type of a complaint about a name that must leave room for two others
T = TypeVar("T")


def _label(text: str) -> str:
    if not is_label(text):
        fixed = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")
        hint = f"write `{fixed}`" if is_label(fixed) else "begin with a letter: `web`"
        raise wrong(_NAMING, hint)
    return text


def _part_name(text: str) -> str:
    if not is_label(text):
        raise PydanticCustomError(NAME, "{what}", {"what": _NAMING, "text": text})
    return text


def _service_name(text: str) -> str:
    if GROUP_LIKE.match(text):
        raise wrong("a service's name may not end like that of a group (`-g1`)", "choose another ending")
    return _part_name(text)


def _sticky(text: str) -> str:
    if text == "header" or text.startswith("header:"):
        hint = "write `header:X-User`, a name without blanks"
    else:
        close = get_close_matches(text.lower(), ("cookie", "address", "none"), n=1)
        hint = f"did you mean `{close[0]}`?" if close else "write `cookie`, `address`, `header:X-User` or `none`"
    if not _STICKY.match(text):
        raise wrong("a client is known by a cookie, by its address, by a header, or by nothing", hint)
    return text


def _secret_name(text: str) -> str:
    if not _SECRET.match(text):
        fixed = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:63]
        hint = f"write `{fixed}`" if _SECRET.match(fixed) else "begin with a letter: `db_password`"
        raise wrong("a secret's name is lower-case letters, digits and underscores, begins with a letter", hint)
    return text


def _environment_name(text: str) -> str:
    if text == "gate":
        raise wrong("this name belongs to the throwaway instances that tests run in", "write `staging`")
    return _part_name(text)


def _flag_name(text: str) -> str:
    if not _FLAG.match(text):
        fixed = re.sub(r"[^A-Za-z0-9_]", "_", text)
        hint = f"write `{fixed}`" if _FLAG.match(fixed) else "begin with a letter: `GREETING`"
        raise wrong("a flag's name is letters, digits and underscores, and begins with no digit", hint)
    if text == "PORT":
        raise wrong("anew itself sets this flag, to a free port for each instance", "remove it, and listen on $PORT")
    return text


def _flag_value(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        sentence = "flags as arguments or files are not there yet: a flag becomes an environment variable"
        raise wrong(sentence, "write the value itself", NOT_YET)
    if isinstance(value, (int, float)):
        return repr(value)
    return value


def _relative(text: str) -> str:
    if text.startswith(("/", "~")):
        raise wrong("this path is relative to the project's folder", f"write `{text.lstrip('~/') or '.'}`")
    if not text or ".." in text.split("/"):
        raise wrong("this path must stay inside the project's folder", "write a path without `..`")
    return text


def _absolute(text: str) -> str:
    parts = [part for part in text.split("/") if part not in {"", ".", ".."}]
    if not text.startswith("/") or "//" in text or {".", ".."} & set(text.split("/")):
        raise wrong("this path is absolute, without `.`, `..` and doubled slashes", f"write `/{'/'.join(parts)}`")
    return text


def _shipped(text: str) -> str:
    for top in _REPLACED:
        if text == top or text.startswith(f"{top}/"):
            raise wrong(f"an instance has a {top} of its own, and nothing of the image shows there", "choose another")
    if "/.wh." in text:
        raise wrong("names that begin with `.wh.` mark removals in images", "choose another path")
    return _absolute(text)


def _writable(text: str) -> str:
    if text.rstrip("/") == "/tmp":  # noqa: S108 - a name in a sentence
        raise wrong("this folder is always writable", "remove this entry")
    if text.strip("/") == "":
        raise wrong("the root of an instance is never writable", "name the folder that the program writes to")
    return _shipped(text).rstrip("/")


def _volume_path(text: str) -> str:
    if text.strip("/") == "":
        raise wrong("the root of an instance is no volume", "name the folder that shall last")
    for top in _REPLACED:
        if text == top or text.startswith(f"{top}/"):
            raise wrong(f"an instance has a {top} of its own, and no volume shows there", "write `/srv/uploads`")
    return _absolute(text).rstrip("/")


def _tcp(value: object) -> object:
    if isinstance(value, dict):
        return value
    public = f", and `expose: {{port: {value}}}` if it is reached from outside" if is_number(value) else ""
    raise wrong("raw TCP has no settings", f"write `tcp: {{}}`{public}")


def _repository(text: str) -> str:
    return _named(reference.repository, text)


def _image_reference(text: str) -> str:
    return _named(reference.reference, text)


def _named(read: Callable[[str], object], text: str) -> str:
    try:
        read(text)
    except SpecError as error:
        raise wrong(error.what, error.hint) from None
    return text


def _url_path(text: str) -> str:
    if not text.startswith("/") or any(c.isspace() or not c.isascii() or not c.isprintable() for c in text):
        raise wrong("the path of a request begins with `/` and has no blanks", "write `/healthz`")
    return text


def _host(text: str) -> str:
    if text == "*":
        return text
    if len(text) > 253 or not all(_HOST_LABEL.match(part) for part in text.split(".")):
        lower = text.lower()
        hint = f"write `{lower}`" if lower != text else "write `shop.example.com`, or `*` for every other name"
        raise wrong("a host is a lower-case name without scheme, port and path", hint)
    return text


def _listen(value: object) -> object:
    if is_number(value):
        raise wrong("this is an IP address, a colon and a port", f"write `127.0.0.1:{value}`")
    if isinstance(value, str):
        address(value)
    return value


def address(text: str) -> tuple[str, int]:
    """Return host and port of an address.

    >>> address("127.0.0.1:8080"), address("[::1]:80")
    (('127.0.0.1', 8080), ('::1', 80))
    """
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        ip_address(host)
    except ValueError as error:
        raise wrong("this is an IP address, a colon and a port", "write `127.0.0.1:8080` or `0.0.0.0:80`") from error
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise wrong("a port is a number from 1 to 65535", f"write `{host}:8080`")
    return host, int(port)


def _matching(pattern: re.Pattern[str], what: str, hint: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.match(text):
            raise wrong(what, hint)
        return text

    return AfterValidator(check)


def _said(value: object) -> object:
    if value is None:
        raise wrong("nothing is written here", "write a value, or remove the key")
    return value


def _some_text(text: str) -> str:
    if not text.strip():
        raise wrong("this text is empty", "write something, or remove it")
    return text


def _command_list(value: object) -> object:
    if isinstance(value, str):
        try:
            parts = shlex.split(value)
        except ValueError:
            parts = value.split()
        raise wrong("a command is a list; no shell reads it", f"write `[{', '.join(_quoted(p) for p in parts)}]`")
    return value


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./-]*", text) else "'" + text.replace("'", "''") + "'"


def _command_of(arguments: list[str]) -> list[str]:
    if not arguments or not arguments[0].strip():
        raise wrong("a command names a program", "write `[python3, /srv/app/server.py]`")
    return arguments


ENGINES = ("embedded", "docker")


def _engine(name: str) -> str:
    if name in ("kubernetes", "aws", "vm"):
        raise wrong("this engine is not there yet", "write `engine: embedded` or `engine: docker`", NOT_YET)
    if name not in ENGINES:
        raise wrong("there is no such engine", "write `engine: embedded` or `engine: docker`")
    return name


def _url(text: str) -> str:
    found = _URL.match(text)
    if not found or any(c.isspace() or not c.isprintable() or not c.isascii() for c in text):
        raise wrong("this is no address of a file", "write `https://HOST/PATH`, without blanks")
    if "@" in found[1]:
        raise wrong("a name or password has no place in this file", "fetch it by hand, and `copy` it")
    if "#" in text:
        raise wrong("an address of a file has no `#`", "remove it and what follows")
    return text


RULE_IDS = tuple(rule.id for rule in RULES if rule.id != UNUSED)


def _rule_id(name: str) -> str:
    if name not in RULE_IDS:
        close = get_close_matches(name.lower(), RULE_IDS, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"there is: {', '.join(RULE_IDS)}"
        raise wrong("no rule of hygiene has this id", hint)
    return name


def _found_path(text: str) -> str:
    if not text.startswith("/"):
        raise wrong("this path is absolute, in the image", f"write `/{text}`")
    return text


def _mode(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        raise wrong("a mode is a text of octal digits", "put it in quotes: `'0644'`")
    return value


def _plain(value: object) -> object:
    """Refuse what JSON can't hold: numbers that are none."""
    if isinstance(value, float) and not math.isfinite(value):
        raise wrong("this is no number that a variable can have", "put it in quotes if it is a text")
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _plain(one)
    return value


def _yes(value: object) -> object:
    if value is False:
        raise wrong("`host` is true or not there", "write `host: true`, or another kind of head")
    return value


_LABEL_SCHEMA = WithJsonSchema({"type": "string", "pattern": "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"})
Maybe = Annotated[T | None, BeforeValidator(_said)]  # may be left out, but not be written with nothing behind it
Label = Annotated[str, AfterValidator(_label), _LABEL_SCHEMA]
PartName = Annotated[str, AfterValidator(_part_name), _LABEL_SCHEMA]
EnvironmentName = Annotated[str, AfterValidator(_environment_name), _LABEL_SCHEMA]
ServiceName = Annotated[str, AfterValidator(_service_name), _LABEL_SCHEMA]
Command = Annotated[list[str], BeforeValidator(_command_list), AfterValidator(_command_of)]
Text = Annotated[str, AfterValidator(_some_text)]
FlagName = Annotated[str, AfterValidator(_flag_name)]
FlagValue = Annotated[str, BeforeValidator(_flag_value), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Flags = dict[FlagName, FlagValue]
Repository = Annotated[str, AfterValidator(_repository)]
ImageReference = Annotated[str, AfterValidator(_image_reference)]
RelativePath = Annotated[str, AfterValidator(_relative)]
ShippedPath = Annotated[str, AfterValidator(_shipped)]
WritablePath = Annotated[str, AfterValidator(_writable)]
VolumePath = Annotated[str, AfterValidator(_volume_path), WithJsonSchema({"type": "string", "pattern": "^/"})]
Sticky = Annotated[
    str,
    AfterValidator(_sticky),
    WithJsonSchema({"type": "string", "pattern": f"^{_STICKY.pattern[:-2]}$"}),
]
SecretName = Annotated[
    str, AfterValidator(_secret_name), WithJsonSchema({"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"})
]
VariableName = Annotated[
    str, _matching(_VARIABLE, "a variable's name is letters, digits and underscores", "write `workers`")
]
Plain = Annotated[Any, AfterValidator(_plain)]
Mode = Annotated[
    str, BeforeValidator(_mode), _matching(_MODE, "a mode is three or four octal digits", "write `'0644'`")
]
Owner = Annotated[
    str, _matching(_OWNER, "an owner is a user, or a user and a group", "write `root:www-data` or `'33:33'`")
]
Port = Annotated[int, Field(ge=1, le=65535)]
Tcp = Annotated[T | None, BeforeValidator(_tcp)]
UrlPath = Annotated[str, AfterValidator(_url_path)]
Host = Annotated[str, AfterValidator(_host)]
Listen = Annotated[str, BeforeValidator(_listen)]
Engine = Annotated[str, AfterValidator(_engine), WithJsonSchema({"enum": list(ENGINES)})]
FetchUrl = Annotated[str, AfterValidator(_url), WithJsonSchema({"type": "string", "pattern": "^https?://[^/@]+/"})]
Sha256 = Annotated[
    str,
    _matching(re.compile(r"[0-9a-f]{64}\Z"), "a SHA-256 has 64 hexadecimal digits", "write what `sha256sum FILE` says"),
]
RuleId = Annotated[str, AfterValidator(_rule_id), WithJsonSchema({"enum": list(RULE_IDS)})]
FoundPath = Annotated[str, AfterValidator(_found_path), WithJsonSchema({"type": "string", "pattern": "^/"})]
Yes = Annotated[bool, AfterValidator(_yes), WithJsonSchema({"const": True})]
Package = Annotated[str, _matching(_PACKAGE, "this is no name of a Debian package", "write `ca-certificates`")]
PublicKey = Annotated[
    str,
    _matching(
        _PUBLIC_KEY,
        "this is no public ed25519 key",
        "write the line that `anew verify --key` shows: `ssh-ed25519 AAAA…`",
    ),
]
Suite = Annotated[str, _matching(_SUITE, "this is no name of a suite", "write a code name: `bookworm`, `jammy`")]
Source = Annotated[
    str,
    _matching(
        _SOURCE,
        "a source is the address of an archive, a suite and its components",
        "write `http://HOST/debian bookworm main`",
    ),
]
