"""What is to be done with a candidate, given what is stored already. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from actas.importing.mapping import Candidate, fingerprint, placeholder
from actas.records import GrantStatus


@dataclass(frozen=True, slots=True)
class Stored:
    """A grant that is there, as far as an import must know it."""

    id: str
    user: str
    account: str
    status: GrantStatus
    generation: int
    #: Where it was imported from: ``{source, source_id, at, generation, fingerprint}``; None if a user connected it.
    imported: Mapping[str, Any] | None


class Standing(StrEnum):
    NEW = "new"
    #: Imported from this document, and the document still holds that token.
    SAME = "same"
    #: Imported from this document, which was changed since; nobody has used the grant, so the newer token is there.
    CHANGED = "changed"
    #: Changed there and used here: nobody knows which token is alive. Nothing is overwritten, nothing unset.
    DIVERGED = "diverged"
    #: Connected by its user, or imported from somewhere else.
    ELSEWHERE = "elsewhere"
    OTHER_USER = "other_user"


#: A grant that was never used may take a newer token; one that its user disconnected may not.
REPLACEABLE = {GrantStatus.ACTIVE, GrantStatus.REAUTHORIZATION_REQUIRED}


def standing(candidate: Candidate, there: Iterable[Stored], source: str) -> tuple[Standing, Stored | None]:
    """How a candidate of ``source`` stands to the grants that are there, and to which of them."""
    matching = [grant for grant in there if _concerns(grant, candidate)]
    for grant in matching:
        origin = grant.imported or {}
        if origin.get("source") == source and origin.get("source_id") == candidate.source_id:
            # A document that changed hands is nobody's to store or unset.
            same_user = grant.user == candidate.user
            return (_of_its_own(candidate, grant, origin), grant) if same_user else (Standing.OTHER_USER, None)
    if any(grant.user != candidate.user for grant in matching):
        return Standing.OTHER_USER, None
    return (Standing.ELSEWHERE, matching[0]) if matching else (Standing.NEW, None)


def _concerns(grant: Stored, candidate: Candidate) -> bool:
    if grant.account == candidate.account:
        return True
    nameless = placeholder(candidate.user)  # whichever of the two does not say its account
    return grant.user == candidate.user and nameless in {grant.account, candidate.account}


def _of_its_own(candidate: Candidate, grant: Stored, origin: Mapping[str, Any]) -> Standing:
    known = origin.get("fingerprint")  # none: it was unset here before, and somebody has put one there again
    if known is not None and hmac.compare_digest(known, fingerprint(grant.id, candidate.refresh_token)):
        return Standing.SAME
    unused = grant.generation == origin.get("generation") and grant.status in REPLACEABLE
    return Standing.CHANGED if unused else Standing.DIVERGED
