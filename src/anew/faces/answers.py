"""What each command answers with `--json`: the type of its one document. The reference is made from this."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from anew.model import Outcome
from anew.model.comparison import Comparison
from anew.model.developed import Developed
from anew.views import (
    Built,
    Carried,
    Check,
    Collected,
    Debugged,
    Event,
    HeadView,
    Installed,
    LogLine,
    Moved,
    Plan,
    Reborn,
    Rebuilt,
    Recomputed,
    ReleaseView,
    SecretErased,
    SecretSet,
    SecretView,
    SigningKeyView,
    Start,
    Status,
    Tested,
    Uninstalled,
    Verification,
    Verified,
    VolumeRemoved,
    VolumeView,
    Why,
)

ANSWERS: Mapping[str, object] = MappingProxyType(
    {
        "init": Start,
        "plan": Plan,
        "build": tuple[Built, ...],
        "lock": tuple[HeadView, ...],
        "rebuild": tuple[Rebuilt, ...],
        "outdated": tuple[HeadView, ...],
        "verify": Verification,
        "verify --key": SigningKeyView,
        "push": Carried,
        "pull": Carried,
        "test": tuple[Tested, ...],
        "up": Moved,
        "status": Status,
        "rollback": Moved,
        "promote": Moved,
        "abort": Moved,
        "dispose": Status,
        "releases": tuple[ReleaseView, ...],
        "history": tuple[Event, ...],
        "history --verify": Verified,
        "logs": tuple[LogLine, ...],
        "why": Why,
        "why --recompute": tuple[Recomputed, ...],
        "why r1 r2": Comparison,
        "dev": Developed,
        "doctor": tuple[Check, ...],
        "serve": Status,
        "secret set": SecretSet,
        "secret list": tuple[SecretView, ...],
        "secret revoke": SecretErased,
        "volumes": tuple[VolumeView, ...],
        "volumes remove": VolumeRemoved,
        "run": Outcome,
        "debug": Debugged,
        "rebirth": Reborn,
        "install": Installed,
        "uninstall": Uninstalled,
        "gc": Collected,
        "schema": dict[str, object],
    }
)
