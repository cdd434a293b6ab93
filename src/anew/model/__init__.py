"""The nouns of the glossary, frozen. Nothing here does anything; every part of anew may import it.

Times are UTC seconds as float, durations seconds, weights integers per mille, sizes bytes.
"""

from anew.model.balance import Counts, Declaration, EdgeGroup, EdgeReading, Listener, Route, Sample, Target, Verdict
from anew.model.made import Generation, Group, Identity, Image, Member, Part, Phase, Pin, Release, Rollout, Seal
from anew.model.running import Instance, Order, Outcome
from anew.model.units import FULL, Bytes, Digest, PerMille, Scope, Seconds, Weights
from anew.model.wish import (
    BuildStep,
    Copy,
    DebianHead,
    Environment,
    Head,
    HostHead,
    Http,
    Override,
    Policy,
    Service,
    Spec,
    TarHead,
    Test,
)

__all__ = [
    "FULL",
    "BuildStep",
    "Bytes",
    "Copy",
    "Counts",
    "DebianHead",
    "Declaration",
    "Digest",
    "EdgeGroup",
    "EdgeReading",
    "Environment",
    "Generation",
    "Group",
    "Head",
    "HostHead",
    "Http",
    "Identity",
    "Image",
    "Instance",
    "Listener",
    "Member",
    "Order",
    "Outcome",
    "Override",
    "Part",
    "PerMille",
    "Phase",
    "Pin",
    "Policy",
    "Release",
    "Rollout",
    "Route",
    "Sample",
    "Scope",
    "Seal",
    "Seconds",
    "Service",
    "Spec",
    "TarHead",
    "Target",
    "Test",
    "Verdict",
    "Weights",
]
