"""A project that answers every use case with made-up views: for what stands between the command line and its output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from canned import (
    AGAIN,
    BACK,
    BUILT,
    CHECKS,
    COMPARISON,
    DEVELOPED,
    HEADS,
    HISTORY,
    NOON,
    PLAN,
    PULLED,
    PUSHED,
    REBUILT,
    RELEASES,
    TESTED,
    WARM,
    WORSE,
)

from anew.model import AS_USUAL, Manner, Outcome, Seconds
from anew.model.comparison import Comparison
from anew.model.developed import Developed, Terminal
from anew.ports import Say
from anew.views import (
    Autopsy,
    Built,
    Carried,
    Check,
    Collected,
    Event,
    HeadView,
    Installed,
    Kept,
    Ordered,
    Plan,
    Rebuilt,
    Recomputed,
    ReleaseView,
    Sealed,
    SecretView,
    SigningKeyView,
    Status,
    Tested,
    Uninstalled,
    Verification,
    Verified,
    VolumeRemoved,
    VolumeView,
    Vouched,
    Why,
)

NUMBER = 3


class Canned:
    """Implements `anew.cases.Anew`; nothing happens."""

    def __init__(self) -> None:
        self._now = WARM

    def plan(self, environment: str, say: Say) -> Plan:
        say(f"planning for {environment}")
        return PLAN

    def build(
        self, services: Sequence[str], say: Say, *, update: bool = False, manner: Manner = AS_USUAL
    ) -> tuple[Built, ...]:
        say("building")
        return BUILT

    def lock(self, heads: Sequence[str], say: Say, *, update: bool = False) -> tuple[HeadView, ...]:
        return HEADS

    def rebuild(self, release: str, say: Say, *, is_offline: bool = False) -> tuple[Rebuilt, ...]:
        return REBUILT[:1]

    def outdated(self, say: Say) -> tuple[HeadView, ...]:
        return HEADS[:1]

    def push(self, release: str, to: str, say: Say, *, with_inputs: bool = False) -> Carried:
        say("pushing")
        return PUSHED

    def pull(self, release: str, source: str, say: Say, *, with_inputs: bool = False) -> Carried:
        say("pulling")
        return PULLED

    def test(self, services: Sequence[str], say: Say) -> tuple[Tested, ...]:
        return TESTED[:1]

    def up(self, environment: str, release: str, say: Say, *, again: bool = False, supersede: bool = False) -> int:
        return NUMBER

    def rollback(self, environment: str, generation: int) -> int:
        return NUMBER

    def promote(self, environment: str) -> int:
        return NUMBER

    def abort(self, environment: str) -> int:
        self._now = BACK
        return NUMBER

    def dispose(self, environment: str, say: Say) -> None:
        say("ending")

    def serve(self, environment: str, *, until_idle: bool, say: Say) -> None:
        say("keeping")

    def put_secret(self, environment: str, name: str, value: bytes) -> int:
        return 2

    def secrets(self, environment: str) -> tuple[SecretView, ...]:
        return SECRETS

    def revoke_secret(self, environment: str, name: str, version: int) -> tuple[int, tuple[str, ...]]:
        return 1, ("g1", "g2")

    def volumes(self, environment: str) -> tuple[VolumeView, ...]:
        return VOLUMES if environment == "local" else ()

    def remove_volume(self, environment: str, service: str, name: str, *, is_forced: bool) -> VolumeRemoved:
        return VolumeRemoved(service, name, 123_456, (f"g1 of {environment}",) if is_forced else ())

    def run(self, environment: str, service: str, command: Sequence[str], limit: Seconds) -> Outcome:
        return Outcome(0, "done\n")

    def collect(self, say: Say, *, is_dry: bool) -> Collected:
        return COLLECTED

    def rebirth(self, environment: str, service: str) -> tuple[str, ...]:
        return ("shop-local-web-g1-0", "shop-local-web-g1-1")

    def take_aside(self, environment: str, service: str, say: Say) -> str:
        say("another one takes its place")
        return "shop-local-web-g1-1"

    def hold(self, environment: str, name: str, span: Seconds) -> None:
        assert name == "shop-local-web-g1-1"

    def entry(self, environment: str, name: str, command: Sequence[str]) -> tuple[str, ...]:
        return tuple(command)

    def install(self, environment: str, say: Say, *, below: Path | None = None, is_writing: bool = True) -> Installed:
        state: Literal["shown", "written", "runs"] = "written" if below else "runs" if is_writing else "shown"
        unit = f"anew-shop.{environment}.service"
        return Installed(environment, unit, f"{below or ''}/etc/{unit}", state, ("a note",), "[Unit]\n")

    def uninstall(self, environment: str, say: Say, *, below: Path | None = None) -> Uninstalled:
        say("ending it")
        unit = f"anew-shop.{environment}.service"
        return Uninstalled(environment, unit, f"{below or ''}/etc/{unit}", is_removed=below is None)

    def status(self, environment: str) -> Status:
        return self._now

    def releases(self) -> tuple[ReleaseView, ...]:
        return RELEASES

    def history(self, environment: str, limit: int) -> tuple[Event, ...]:
        return HISTORY

    def why(self, environment: str, generation: int) -> Why:
        return WHY

    def compare(self, environment: str, before: str, after: str) -> Comparison:
        assert (before, after) == ("r1", "r2")
        return COMPARISON

    def recompute(self, environment: str, generation: int) -> tuple[Recomputed, ...]:
        return AGAIN[:1]

    def develop(self, environment: str, service: str, terminal: Terminal) -> Developed:
        terminal.say("its address is told")
        terminal.show("what it writes")
        return DEVELOPED

    def verify(self, environment: str) -> Verified:
        return VERIFIED

    def verify_all(self, environment: str, release: str) -> Verification:
        return VERIFICATION

    def signing_key(self) -> SigningKeyView:
        return SIGNING_KEY

    def logs(self, environment: str, target: str, lines: int) -> tuple[tuple[str, str], ...]:
        return (("shop-local-web-g1-0", "listening"), ("shop-local-web-g1-1", "listening"))

    def doctor(self) -> tuple[Check, ...]:
        return CHECKS[:2]

    def schema(self) -> dict[str, object]:
        return {"title": "anew.yaml", "type": "object"}


_KEY = "SHA256:kmYcvdi2GkPeWxB6XLjrZB8JHsy2Hm8luHMFp9GMvqk"
SIGNING_KEY = SigningKeyView("shop", _KEY, f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{43 * 'A'}")
VERIFICATION = Verification(
    environment="local",
    trusted=(_KEY,),
    images=(
        Vouched("api", f"sha256:{64 * 'a'}", ("r1", "r2"), (_KEY,), ()),
        Vouched("web", f"sha256:{64 * 'b'}", ("r2",), (_KEY,), ()),
    ),
    lock="",
    ledgers={"local": Verified(12, f"sha256:{64 * 'd'}", signed=9, key=_KEY)},
    seals={"local": ()},
)
SECRETS = (
    SecretView("db_password", 1, NOON, is_revoked=True),
    SecretView("db_password", 2, NOON + 60, is_revoked=False),
)
VOLUMES = (VolumeView("api", "uploads", 12_345_678), VolumeView("web", "cache", 4096))
WHY = Why(
    "g2",
    "r2",
    "rolled back",
    "web-g2: 20 % of 50 requests failed",
    NOON,
    "g1",
    (
        Sealed(
            "web", "web-g2", 2, "sha256:" + "ab" * 32, ("python3", "/srv/app/server.py"), {"GREETING": "hello"},
            ("db_password v2",), {"memory": 268435456.0},
        ),
    ),
    HISTORY[:1],
    (
        Autopsy(
            "shop-local-web-g2-0", "web-g2", "died, exit code 1", True, "", 12_345_678, NOON + 9, ("Traceback",),
            ("added: /usr/lib/more",), 3,
            Ordered(
                "sha256:" + "ab" * 32, ("python3", "/srv/app/server.py"), {"GREETING": "hello", "PORT": "20001"}, 20001,
                ("/var/lib/mine",), {"data": "/srv/data"}, ("db_password v2",), {"memory": 268435456.0, "cpu": 0.5},
            ),
        ),
    ),
    (WORSE,),
)  # fmt: skip
COLLECTED = Collected(
    ("the image of web in r1",), 12_345_678, (Kept("the image of web in r2", "g2 serves shop/local"),)
)
VERIFIED = Verified(12, "ab" * 32)
BROKEN = Verified(12, "ab" * 32, 7, "its text was changed")
