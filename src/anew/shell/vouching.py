"""Who is believed: what is sealed was vouched for by a trusted key, and what is recorded is still what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from anew.core import trials
from anew.core.identity import is_as_made
from anew.errors import AnewError, Conflict, GateClosed, NotFound
from anew.shell.generations import told_of
from anew.views import Vouched

if TYPE_CHECKING:
    from anew.model import Digest, Part, Release, Scope
    from anew.shell.journal import Journal
    from anew.shell.parts import Notary, Witness
    from anew.views import Verified


def key_of(release: Release, part: Part) -> Digest:
    """Return the key of the verdict that a part of a release needs."""
    return trials.vouched(trials.trial_of(part, trials.by_service(release)))


def require(notary: Notary, release: Release, trusted: Sequence[str]) -> None:
    """Raise GateClosed, with all that is missing, unless trusted keys vouch for every image of a release.

    Raises  Conflict if what is recorded of the release was changed.
    """
    if not is_as_made(release):
        hint = "what the state says of it was changed; `anew up` makes a release of what the project's file says"
        raise Conflict(f"what is recorded of {release.name} is not what it was made of", where=release.name, hint=hint)
    found = {
        part.service.name: "; ".join(doubts)
        for part in release.parts
        if (doubts := notary.doubts(part.image, key_of(release, part), trusted))
    }
    if found:
        service, why = next(iter(found.items()))
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise GateClosed(
            f"the image of {service} in {release.name} may not be sealed: {why}{more}",
            where=f"{release.project} {release.name}",
            hint=f"trusted: {', '.join(notary.trusted(trusted))}; build and test it where one of these keys is"
            " (`anew up` does), or name the key that signed it under `trust`",
            facts=found,
        )


def _doubts(notary: Notary, release: Release, part: Part, trusted: Sequence[str]) -> tuple[str, ...]:
    try:
        return notary.doubts(part.image, key_of(release, part), trusted)
    except (Conflict, NotFound) as error:
        return (error.what,)


def vouched(notary: Notary, releases: Sequence[Release], trusted: Sequence[str]) -> tuple[Vouched, ...]:
    """Look at every image of these releases, each once: whether it may be sealed, and is what it was made to be."""
    found: dict[Digest, Vouched] = {}
    for release in releases:
        wrong = () if is_as_made(release) else (f"what is recorded of {release.name} is not what it was made of",)
        for part in release.parts:
            doubts = (*wrong, *_doubts(notary, release, part, trusted))
            known = found.get(part.image.digest)
            if known is None:
                problems = (*notary.changed(part.image), *doubts)
                names, keys = (release.name,), notary.signers(part.image, trusted)
                found[part.image.digest] = Vouched(part.service.name, part.image.digest, names, keys, problems)
            else:
                more = tuple(f"in {release.name}: {one}" for one in doubts if one not in known.problems)
                found[part.image.digest] = replace(
                    known, releases=(*known.releases, release.name), problems=(*known.problems, *more)
                )
    return tuple(found.values())


def witnessed(journal: Journal, witness: Witness, scope: Scope) -> Verified:
    """Walk the chain of a ledger, and see that the event that was signed last is there, as it was."""
    found = journal.ledger.verify(scope)
    try:
        seen = witness.seen()
    except Conflict as error:
        return found if found.broken else replace(found, broken=max(1, found.events), wrong=error.what)
    if seen is None:
        return found if found.broken else _unsigned(journal, scope, found)
    number, hash_, key = seen
    found = replace(found, signed=number, key=key)
    if found.broken:
        return found
    if number > found.events:
        wrong = f"it is missing, and so is all that followed: event {number} was signed"
        return replace(found, broken=found.events + 1, wrong=wrong)
    if journal.ledger.hash_of(scope, number) != hash_:
        return replace(found, broken=number, wrong="it is not what was signed")
    return found


def _unsigned(journal: Journal, scope: Scope, found: Verified) -> Verified:
    """Say that no signed head is there, though every promotion signs one."""
    names = [one.name for one in journal.generations.all(scope).values() if one.outcome == "promoted"]
    if not names:
        return found
    wrong = f"no signed head is there, though {names[-1]} was promoted: it was removed, or couldn't be signed (then the"
    return replace(found, broken=max(1, found.events), wrong=f"{wrong} ledger says why); the next promotion signs anew")


def unsealed(journal: Journal, scope: Scope) -> tuple[str, ...]:
    """Return what is recorded of releases, generations, and the groups that they map to, and is not what was sealed.

    The ledger has it from the moment of the seal; what an older anew sealed is left out, for it wrote down less.
    """
    sums, generations = journal.generations.sums(scope), journal.generations.all(scope)
    releases = {one.name: one.digest for one in journal.releases.all(scope.project)}
    found: list[str] = []
    for facts in journal.ledger.sealed(scope):
        name = facts.get("generation", "")
        one = next((each for each in generations.values() if each.name == name), None)
        if "members" not in facts:
            continue
        release, digest = facts.get("release", ""), facts.get("digest", "")
        if releases.get(release) != digest:
            is_now = "not what it was" if release in releases else "gone"
            found.append(f"{release}, which {name} was sealed from, is {is_now}")
        if one is None:
            found.append(f"{name} is gone")
            continue
        if (one.release, one.digest, told_of(one.members)) != (release, digest, facts["members"]):
            found.append(f"{name} is not what was sealed")
        for member in one.members:
            told = facts.get(f"seal {member.service}")
            if sums.get(member.group, told) != told:  # what is disposed of has none
                found.append(f"{member.group} of {name} is not what was sealed")
    misfiled = (f"what is recorded of {name} is not in its place" for name in journal.releases.misfiled(scope.project))
    return (*found, *misfiled)


def sign(journal: Journal, witness: Witness, scope: Scope) -> None:
    """Sign how far a ledger has come; where that is not possible, the ledger says why."""
    newest = journal.ledger.events(scope, 1)
    try:
        for event in newest:
            witness.sign(event.number, event.hash)
    except AnewError as error:
        journal.ledger.note(scope, "note", f"the head of the ledger is not signed: {error.what}")
