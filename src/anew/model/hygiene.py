"""What a finished image should not have: one rule each, with an id that stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

VERSION = 2  # of the rules; raised when the same image tells something else
Severity = Literal["refuse", "warn"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that is looked for in images. The texts make the reference."""

    id: str
    severity: Severity  # `refuse`: an image that has it is not released
    what: str
    why: str
    remedy: str
    stays: bool = False  # it is in the image also where a later step removed it: layers keep what they once had
    is_of_head: bool = True  # false: what the head itself has of it is the head's business


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the spec lets the image of a service have, and why; `*` in `path` is any name, `**` any number of them."""

    service: str
    rule: str
    path: str  # absolute
    why: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a rule found in an image."""

    rule: str
    severity: Severity
    path: str  # absolute; of an allowance that nothing needs, as it is written
    text: str
    remedy: str
    allowed: str = ""  # why the spec lets it pass; "" if it does not


UNUSED = "unused-allowance"  # the rule about allowances themselves

RULES: tuple[Rule, ...] = (
    Rule(
        "private-key",
        "refuse",
        "A private key: in PEM (of TLS, SSH, PGP), of PuTTY, or of age.",
        "Everybody who has the image has the key, and it can't be changed without another image.",
        "make it a secret of the environment: `secrets: [NAME]`, which instances read from a file",
        stays=True,
    ),
    Rule(
        "access-token",
        "refuse",
        "A token of a known form: AWS, GitHub, GitLab, Slack, Stripe, npm, PyPI.",
        "Whoever finds it in the image acts in your name until somebody revokes it.",
        "revoke it, and make the new one a secret of the environment: `secrets: [NAME]`",
        stays=True,
    ),
    Rule(
        "credentials-file",
        "refuse",
        "A file of a program's credentials that has some: `.npmrc`, `.yarnrc.yml`, `.pypirc`, `.netrc`, `.pgpass`, "
        "`.git-credentials`, `.my.cnf`, `.aws/credentials`, `.docker/config.json`, `pip.conf`, `.git/config`.",
        "It was needed to make the image, and now everybody has it who runs it.",
        "leave it out (.anewignore); a step with `network: true` is given your settings without keeping them",
        stays=True,
    ),
    Rule(
        "env-secret",
        "refuse",
        "An `.env` file in which something is called a password, a secret, a token or a key.",
        "One image runs in every environment, so what differs between them can't be in it, and least of all secrets.",
        "leave it out (.anewignore), and write `flags:` and `secrets:`",
        stays=True,
    ),
    Rule(
        "password-hash",
        "refuse",
        "An account with a password in `/etc/shadow` or `/etc/passwd`.",
        "Every instance has the same one, and a hash can be guessed at in peace.",
        "lock the account: `passwd --lock NAME` in a step; nobody logs into an instance",
        stays=True,
    ),
    Rule(
        "empty-password",
        "refuse",
        "An account that needs no password.",
        "Any program in the instance may become it.",
        "lock the account: `passwd --lock NAME` in a step",
    ),
    Rule(
        "authorized-keys",
        "refuse",
        "An `authorized_keys` file that lets somebody in.",
        "A key of whoever built the image opens every instance of it.",
        "leave it out; `anew debug` and `anew run` lead into instances",
    ),
    Rule(
        "ssh-host-key",
        "refuse",
        "A host key of an SSH server.",
        "All instances would have the same one, so that each can pose as any other.",
        "remove it where it is made; instances need no SSH server",
        stays=True,
    ),
    Rule(
        "device-node",
        "refuse",
        "A device outside of `/dev`, which every instance has of its own.",
        "It opens the machine's disk or memory to whoever can read it.",
        "make the head's archive without it",
    ),
    Rule(
        "core-dump",
        "refuse",
        "The memory of a program that crashed.",
        "All that the program knew is in it.",
        "leave it out",
        stays=True,
    ),
    Rule(
        "dependency-key",
        "warn",
        "A private key that belongs to a package below `node_modules`.",
        "It was probably published with the package, and protects nothing; but no record says so.",
        "allow it if it is one of the package's tests",
        stays=True,
    ),
    Rule(
        "snakeoil-key",
        "warn",
        "The key that Debian's package `ssl-cert` makes when it is installed, as `postgresql` wants it.",
        "Everybody who has the image has it, and a head with it never comes out the same twice.",
        "serve nothing with it, and allow it; or choose packages without `ssl-cert`",
        stays=True,
    ),
    Rule(
        "env-file",
        "warn",
        "An `.env` file without anything that is called a secret.",
        "What differs between environments can't be in an image that runs in all of them.",
        "leave it out (.anewignore), and write `flags:`",
    ),
    Rule(
        "machine-id",
        "warn",
        "A machine id that is filled in.",
        "Each instance is another machine; what tells them by this id takes all of them for one.",
        "empty the file, or leave it out",
    ),
    Rule(
        "cloud-init",
        "warn",
        "What cloud-init wrote when it set a machine up.",
        "It tells of another machine, and may hold what that one was given in confidence.",
        "remove `/var/lib/cloud` before the archive is made",
    ),
    Rule(
        "package-cache",
        "warn",
        "Lists and archives of apt, or the cache of pip or npm.",
        "They make the image larger and are of no use: what runs is never updated.",
        "remove it in the step that made it",
    ),
    Rule(
        "world-writable",
        "warn",
        "A file or folder that everybody may write to; a folder with the sticky bit is none.",
        "Where the root is not read-only, any program may change what the others run.",
        "`chmod o-w` in a step; folders to write in are `writable:`",
    ),
    Rule(
        "setuid",
        "warn",
        "A program with setuid, setgid or a capability that the head does not have.",
        "It gives whoever runs it the rights of another user; instances are given none by it.",
        "`chmod ug-s` in a step, or allow it",
        is_of_head=False,
    ),
    Rule(
        "version-control",
        "warn",
        "A folder of version control: `.git`, `.hg`, `.svn`, `.bzr`.",
        "The whole history goes with it, with all that was ever removed from the files.",
        "copy what is needed without it, or remove it in the step that fetched it",
        stays=True,
    ),
    Rule(
        "shell-history",
        "warn",
        "What somebody typed, as a shell or another program kept it.",
        "Passwords are typed into the wrong line every day.",
        "leave it out",
        stays=True,
    ),
    Rule(
        "editor-leftover",
        "warn",
        "A backup or swap file of an editor, or what a desktop leaves in folders.",
        "It is an old version of a file that somebody corrected.",
        "leave it out (.anewignore)",
        is_of_head=False,
    ),
    Rule(
        "unknown-owner",
        "warn",
        "A file of a user or group that `/etc/passwd` and `/etc/group` of the image don't know.",
        "It belongs to somebody of the machine that made it, and to nobody here, or to whoever gets that number next.",
        "`chown` it in a step, or make the account",
        is_of_head=False,
    ),
    Rule(
        UNUSED,
        "warn",
        "An entry of `hygiene` to which nothing in the image belongs.",
        "It lets pass what nobody has looked at when it comes.",
        "remove it",
    ),
)

BY_ID: Mapping[str, Rule] = MappingProxyType({rule.id: rule for rule in RULES})
