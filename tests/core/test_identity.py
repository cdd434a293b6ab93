"""The identity of a release: those of before keep theirs, though two keys of a rollout are called otherwise today."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import get_args

import msgspec
import pytest

from anew.core.digest import canonical
from anew.core.identity import is_as_made, is_called, release_digest, service_identity, was_called
from anew.model import Identity, Image, Judge, OnUndecided, Part, Policy, Release, Service

ZEROS = "sha256:" + 64 * "0"
IMAGE = Image(Identity(ZEROS, ZEROS, (ZEROS,), ZEROS, ZEROS), (ZEROS,))
SAID = ("", *get_args(OnUndecided))
BEFORE = "sha256:f96ca390b8081516ee191bc21de0f7f7ba2bdbb3c72d4773e3fda0dca4fb41d9"  # when the keys had other names


def part(**policy: object) -> Part:
    return Part(Service("web", "base", ("serve",), policy=replace(Policy(), **policy)), IMAGE)  # type: ignore[arg-type]


def test_a_release_of_before_keeps_its_digest() -> None:
    found = release_digest("shop", [part()])
    assert found == BEFORE
    assert is_as_made(Release("shop", "r1", BEFORE, (part(),)))
    assert not is_as_made(Release("shop", "r1", BEFORE, (part(on_undecided="promote"),)))


def test_an_identity_has_the_words_of_when_releases_were_first_made() -> None:
    told = service_identity(part(at_most=90.0, on_undecided="rollback").service)["policy"]
    assert isinstance(told, dict)
    assert {"within": 90.0, "undecided": "roll back"}.items() <= told.items()
    assert not {"at_most", "on_undecided"} & told.keys()


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("judge", [Judge(), Judge(alpha=0.05), Judge(2.0, 3.0, 0.0, 0.02, 0.1)])
def test_what_an_identity_says_of_a_policy_can_be_read_back(said: OnUndecided, judge: Judge) -> None:
    policy = Policy(at_most=90.0, on_undecided=said, judge=judge)
    read = is_called(json.loads(canonical({"policy": was_called(policy)})))
    assert msgspec.convert(read["policy"], Policy) == policy


def test_what_is_said_of_the_judge_is_part_of_an_identity() -> None:
    assert release_digest("shop", [part(judge=Judge(alpha=0.05))]) != BEFORE


def test_releases_that_differ_in_what_becomes_of_an_undecided_stage_have_other_digests() -> None:
    assert len({release_digest("shop", [part(on_undecided=said)]) for said in SAID}) == len(SAID)


def test_what_was_not_said_is_taken_as_the_reader_takes_it() -> None:
    before = {"members": [{"policy": {"each": 1.0, "within": 2.0, "undecided": "advance"}, "within": 3.0}]}
    policies = [is_called(before, unsaid=one)["members"][0]["policy"] for one in ("", "promote")]
    assert policies == [{"each": 1.0, "at_most": 2.0, "on_undecided": one} for one in ("", "promote")]
    assert is_called(before)["members"][0]["within"] == 3.0
