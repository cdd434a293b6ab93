"""Answers about images that were built, or recognised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anew.model import Digest, Finding, Seconds


@dataclass(frozen=True, slots=True)
class HeadUsed:
    """A head that an image was made from, and how long ago it was resolved; 0 where that can't be said."""

    head: str
    age: Seconds


@dataclass(frozen=True, slots=True)
class Built:
    """One image that was built, or recognised; and which inputs led to what was used again."""

    service: str
    manifest: Digest  # "" if the build was to end before there is one
    input: Digest
    is_reused: bool  # recognised from its input digest; nothing was run
    seconds: Seconds
    size: int  # bytes of all its layers
    findings: tuple[Finding, ...] = ()  # what is not as it should be in it, and does not keep it from being released
    heads: tuple[HeadUsed, ...] = ()  # its own, then those of the tools of its steps
    files: int = 0  # of the project that it was made from
    steps: int = 0
    steps_reused: int = 0  # of them, those that were not run
    age: Seconds = 0.0  # of the image if it is reused, else of the oldest result of a step that is; 0: none
    again: Literal["", "same", "differs"] = ""  # how it came out, if all steps were run again though it was there
    until: str = ""  # the step at which the build was to end
