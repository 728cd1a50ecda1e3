"""Errors: each can be told apart by its code, and says in one line what it is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from datetime import UTC, datetime

import pytest
from pymongo.errors import AutoReconnect, BulkWriteError, OperationFailure, WriteConcernError, WriteError

import actas
import scheduler
import worker
from actas.actions import Refused
from actas.errors import ActasError, GrantDead, JobRefused, MongoRefused, MongoUnavailable, TokenEndpointError
from actas.gates import AtGate
from actas.stores.database import translated
from worker.errors import NeedsUser, NotNow, NotYet, RateLimited, Stopped
from worker.submit import NotTaken

#: Celery's doors read settings when they are imported; they define no errors of ours.
DOORS = {"worker.app", "worker.tasks", "scheduler.app", "scheduler.tasks", "actas.sandbox.__main__"}

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

#: What these take besides a message.
ARGUMENTS = {
    TokenEndpointError: {"provider_code": "x"},
    NotYet: {"at": NOW},
    NotNow: {"at": NOW},
    NotTaken: {"why": "w"},
    AtGate: {"until": NOW, "gate": "g"},
}


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*(subclasses(each) for each in kind.__subclasses__()))


def all_errors() -> list[type[ActasError]]:
    for package in (actas, worker, scheduler):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name not in DOORS:
                importlib.import_module(module.name)
    ours = {
        kind for kind in subclasses(ActasError) if kind.__module__.partition(".")[0] in {"actas", "worker", "scheduler"}
    }
    return sorted(ours, key=lambda kind: (kind.__module__, kind.__name__))


ERRORS = all_errors()
PUBLIC = [kind for kind in ERRORS if not kind.__name__.startswith("_")]

every = pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)


def made(kind: type[ActasError]) -> ActasError:
    arguments = next((given for parent, given in ARGUMENTS.items() if issubclass(kind, parent)), {})
    return kind(**arguments)


def test_errors_of_all_rooms_are_looked_at():
    assert {"VaultDenied", "NotSent", "OutcomeUnknown", "MongoRefused", "Refused"} <= {kind.__name__ for kind in ERRORS}


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_of_its_own(kind):
    """Operators, metrics and apps tell errors apart by it."""
    assert "code" in vars(kind)
    assert kind.code.replace("_", "").isalnum()
    assert kind.code == kind.code.lower()


def test_no_two_errors_share_a_code_but_the_two_faces_of_a_dead_grant():
    by_code: dict[str, set[type]] = {}
    for kind in PUBLIC:
        by_code.setdefault(kind.code, set()).add(kind)
    shared = {code: kinds for code, kinds in by_code.items() if len(kinds) > 1}
    assert shared == {"reauthorization_required": {GrantDead, NeedsUser}}


@every
def test_every_error_has_a_docstring_of_its_own_that_is_one_sentence(kind):
    first = (vars(kind).get("__doc__") or "").strip().splitlines()[0]
    assert first.endswith(".")
    assert first[0].isupper()


@pytest.mark.parametrize(
    "kind", [kind for kind in ERRORS if not issubclass(kind, AtGate)], ids=lambda kind: kind.__name__
)
def test_without_a_message_an_error_says_its_docstrings_first_line(kind):
    assert str(made(kind)) == inspect.getdoc(kind).splitlines()[0]


@pytest.mark.parametrize(
    "kind", [kind for kind in ERRORS if not issubclass(kind, (AtGate, NotNow, NotYet))], ids=lambda kind: kind.__name__
)
def test_with_a_message_an_error_says_that(kind):
    arguments = next((given for parent, given in ARGUMENTS.items() if issubclass(kind, parent)), {})
    assert str(kind("do this", **arguments)) == "do this"


@every
def test_an_error_has_the_code_of_its_class(kind):
    assert made(kind).code == kind.code


def test_a_narrower_code_belongs_to_one_error_only():
    assert JobRefused("x", code="altered").code == "altered"
    assert JobRefused("x").code == JobRefused.code == "job_refused"
    assert (Stopped("x", code="revoked").reason, Stopped().reason) == ("revoked", "cancelled")
    assert (Refused("x", refusal="duplicate").refusal, Refused().refusal) == ("duplicate", "refused")
    assert GrantDead(provider_code="invalid_grant").provider_code == "invalid_grant"


@pytest.mark.parametrize("kind", [AtGate, RateLimited])
def test_a_gate_says_until_when(kind):
    error = kind(NOW, gate="x answered 429")
    assert error.until == NOW
    assert str(error) == "waiting until 2026-11-23T09:00:00Z: x answered 429"


# --- MongoDB's, which leave its room only as one of ours ---

UNCONFIRMED, FENCED = (
    {"code": 64, "errmsg": "waiting for replication timed out"},
    {"code": 121, "errmsg": "no such shape"},
)


def bulk(*write_errors: dict[str, object], unconfirmed: bool = False) -> BulkWriteError:
    errors = [{"index": n, "errmsg": "canary"} | error for n, error in enumerate(write_errors)]
    return BulkWriteError({"writeErrors": errors, "writeConcernErrors": [UNCONFIRMED] * unconfirmed, "nInserted": 1})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (WriteConcernError("canary", 64), MongoUnavailable),
        (WriteConcernError("canary", 4242), MongoUnavailable),
        (WriteError("canary", 121), MongoRefused),
        (OperationFailure("canary", 13), MongoRefused),
        (OperationFailure("canary", 11602), MongoUnavailable),
        (AutoReconnect("canary"), MongoUnavailable),
        # many writes at once: an outage if nothing was refused, however it is wrapped
        (bulk(unconfirmed=True), MongoUnavailable),
        (bulk({"code": 11000}, unconfirmed=True), MongoUnavailable),
        (bulk({"code": 11602}, {"code": 11602}), MongoUnavailable),
        (bulk({"code": 11000}, {"code": 91}), MongoUnavailable),
        (bulk(FENCED), MongoRefused),
        (bulk(FENCED, {"code": 11602}), MongoRefused),
        (bulk(FENCED, unconfirmed=True), MongoRefused),
        (bulk({"code": 11000}), MongoRefused),
    ],
)
def test_what_mongodb_says_is_an_outage_or_a_refusal(error, kind):
    @translated
    def write() -> None:
        raise error

    with pytest.raises((MongoUnavailable, MongoRefused)) as said:
        write()
    assert type(said.value) is kind
    assert "canary" not in str(said.value)
