"""What becomes of a job whose path ended in an error: the whole table, and what holds for all of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worker.decision
from actas.actions import NotReady, Refused
from actas.errors import (
    ClientRefused,
    EnvelopeError,
    EnvelopeVersionError,
    GrantDead,
    InvalidPayload,
    JobRefused,
    MongoRefused,
    MongoUnavailable,
    NotFound,
    ProviderUnavailable,
    TokenEndpointError,
    UnknownAction,
    UnknownProvider,
    VaultDenied,
    VaultUnavailable,
)
from actas.gates import LONGEST_SPREAD, SHORTEST_SPREAD, SPREAD, AtGate
from actas.http import NoReply, NotSent, ReplyTooLarge
from actas.records import JobError
from actas.states import MOVES, JobStatus
from worker.decision import (
    BACKOFF_BASE,
    BACKOFF_CAP,
    MAX_ATTEMPTS,
    Decision,
    decide,
)
from worker.errors import (
    AccessTokenRefused,
    FileUnread,
    Held,
    LeaseTooShort,
    NeedsUser,
    NotYet,
    OutcomeUnknown,
    OutOfCredits,
    RateLimited,
    Redirected,
    Stopped,
    TokenPending,
    TooLate,
    UsageCapped,
)

S = JobStatus
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
DAY = timedelta(days=1)
CANARY = "canary-secret"


def decision(
    error: Exception, *, attempt: int = 0, deadline: datetime = NOW + DAY, jitter: float = 0.5, now: datetime = NOW
) -> Decision:
    return decide(error, attempt=attempt, now=now, deadline=deadline, jitter=jitter)


# What ends a job's run.
ENDS = [
    (Stopped(), S.CANCELLED, "cancelled"),
    (Stopped("it is on the blacklist", code="revoked"), S.CANCELLED, "revoked"),
    (Stopped("its user disconnected", code="disconnected"), S.CANCELLED, "disconnected"),
    (TooLate(), S.EXPIRED, "expired"),
    (TooLate(held_up_by=JobError("at_gate", "waiting until ...", NOW)), S.EXPIRED, "expired"),
    (OutcomeUnknown(), S.UNCERTAIN, "uncertain"),
    (Held(), S.PARKED, "held"),
    (NeedsUser(), S.PARKED, "reauthorization_required"),
    (GrantDead(provider_code="invalid_grant"), S.PARKED, "reauthorization_required"),
    (JobRefused(), S.FAILED, "job_refused"),
    (JobRefused("moved", code="altered"), S.FAILED, "altered"),
    (InvalidPayload(), S.FAILED, "invalid_payload"),
    (Refused(), S.FAILED, "refused"),
    (Refused("again", refusal="duplicate"), S.FAILED, "duplicate"),
    (EnvelopeError(), S.FAILED, "bad_envelope"),
]

# What is waited out: nobody's fault, or an operator's, and so it spends no attempt. Seconds: the shortest pause.
WAITS = [
    (TokenPending(), 1, "awaiting_token"),
    (LeaseTooShort(), 1, "lease_too_short"),
    (VaultUnavailable(), 5, "vault_unavailable"),
    (MongoUnavailable(), 5, "mongodb_unavailable"),
    (ProviderUnavailable(), 5, "provider_unavailable"),
    (NotSent(), 5, "not_sent"),
    (FileUnread(), 5, "file_unread"),
    (Redirected(), 60, "redirected"),  # of an idempotent action
    (ReplyTooLarge(), 60, "reply_too_large"),
    (NoReply(), 5, "no_reply"),  # from the token endpoint, or of an idempotent action
    (ClientRefused(provider_code="invalid_client"), 60, "client_refused"),
    (EnvelopeVersionError(), 60, "envelope_version"),
    (UnknownAction(), 60, "unknown_action"),  # to this worker; one with a newer release, or with its package, knows it
    (UnknownProvider(), 60, "unknown_provider"),
    (VaultDenied(), 60, "vault_denied"),  # a policy or a role id to be mended, for the whole fleet at once
    (MongoRefused(), 60, "mongodb_refused"),
    (NotFound("app shop has no client credentials for x"), 60, "not_found"),
]

# What may pass, and is asked again a few times.
REPEATS = [
    (AccessTokenRefused(), "access_token_refused"),
    (TokenEndpointError(provider_code="invalid_request"), "token_endpoint"),
    (RuntimeError(CANARY), "internal_error"),
    (KeyError(CANARY), "internal_error"),
    (UnicodeEncodeError("ascii", CANARY, 0, 1, CANARY), "internal_error"),
]


def named(rows):
    return [pytest.param(*row, id=f"{type(row[0]).__name__}-{row[-1]}") for row in rows]


@pytest.mark.parametrize(("error", "to", "code"), named(ENDS))
@pytest.mark.parametrize("attempt", [0, MAX_ATTEMPTS + 1])
@pytest.mark.parametrize("deadline", [NOW - DAY, NOW + DAY])
def test_some_errors_end_the_run_whatever_the_time_and_the_attempt(error, to, code, attempt, deadline):
    made = decision(error, attempt=attempt, deadline=deadline)
    assert (made.to, made.code, made.at) == (to, code, None)


@pytest.mark.parametrize(("error", "seconds", "code"), named(WAITS))
@pytest.mark.parametrize("attempt", [0, MAX_ATTEMPTS + 1])
@pytest.mark.parametrize("jitter", [0, 0.25, 0.999])
def test_some_errors_are_waited_out_and_spend_no_attempt(error, seconds, code, attempt, jitter):
    made = decision(error, attempt=attempt, jitter=jitter)
    assert (made.to, made.code, made.counts) == (S.SCHEDULED, code, False)
    assert made.at == NOW + timedelta(seconds=seconds) * (1 + jitter)


@pytest.mark.parametrize(("error", "code"), named(REPEATS))
def test_some_errors_are_asked_again_and_spend_an_attempt(error, code):
    made = decision(error)
    assert (made.to, made.code, made.counts) == (S.SCHEDULED, code, True)


def test_a_job_before_its_time_comes_back_exactly_then():
    made = decision(NotYet(LATER), attempt=3)
    assert (made.to, made.at, made.counts, made.code) == (S.SCHEDULED, LATER, False, "not_yet")


@pytest.mark.parametrize(
    ("seconds", "pause"), [(1, 1), (7.5, 7.5), (86_400, 86_400), (0, 5), (-1, 5), (float("nan"), 5), (float("inf"), 5)]
)
def test_what_is_not_ready_is_asked_for_when_the_provider_said_and_spends_no_attempt(seconds, pause):
    made = decision(NotReady(seconds=seconds), attempt=MAX_ATTEMPTS + 1, deadline=NOW + 2 * DAY)
    assert (made.to, made.code, made.counts) == (S.SCHEDULED, "not_ready", False)
    assert made.at == NOW + timedelta(seconds=pause)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AtGate(LATER, gate="grant"), "at_gate"),
        (RateLimited(LATER, gate="x answered 429"), "rate_limited"),
        (UsageCapped(LATER, gate="x answered 429"), "usage_capped"),
        (OutOfCredits(LATER, gate="x answered 402"), "out_of_credits"),
    ],
)
@pytest.mark.parametrize("jitter", [0, 0.5, 0.999])
def test_at_a_gate_a_job_waits_until_it_opens_and_a_little_longer(error, code, jitter):
    made = decision(error, attempt=MAX_ATTEMPTS, jitter=jitter)
    assert (made.to, made.code, made.counts) == (S.SCHEDULED, code, False)
    assert made.at == LATER + (LATER - NOW) * SPREAD * jitter


@pytest.mark.parametrize(
    ("wait", "spread"),
    [
        (timedelta(seconds=-1), SHORTEST_SPREAD),
        (timedelta(seconds=1), SHORTEST_SPREAD),
        (timedelta(minutes=5), timedelta(seconds=30)),
        (timedelta(hours=1), LONGEST_SPREAD),
    ],
)
def test_the_longer_a_gate_was_closed_the_further_those_who_waited_are_spread_out(wait, spread):
    until = NOW + wait
    first, last = (decision(AtGate(until, gate="grant"), jitter=jitter).at for jitter in (0, 0.999))
    assert (first, last) == (until, until + spread * 0.999)


@given(st.timedeltas(timedelta(milliseconds=1), timedelta(minutes=2)), st.floats(0, 1, exclude_max=True))
def test_the_spreading_itself_never_costs_a_deadline(left, jitter):
    made = decision(AtGate(LATER, gate="client"), deadline=LATER + left, jitter=jitter)
    assert made.to is S.SCHEDULED
    assert LATER <= made.at < LATER + left


def test_a_gate_that_opens_too_late_expires_the_job_now_and_says_what_held_it_up():
    made = decision(AtGate(LATER, gate="client"), deadline=LATER)
    assert (made.to, made.code, made.at, made.counts) == (S.EXPIRED, "expired", None, False)
    assert "at_gate" in made.message


@pytest.mark.parametrize("deadline", [NOW - DAY, NOW, NOW + timedelta(milliseconds=1)])
def test_what_could_only_go_on_past_the_deadline_expires_now(deadline):
    for error in (VaultUnavailable(), TokenPending(), AccessTokenRefused(), RuntimeError(CANARY)):
        made = decision(error, deadline=deadline)
        assert (made.to, made.code, made.at) == (S.EXPIRED, "expired", None)
        assert "canary" not in made.message


# --- what holds for every error ---

afterwards = st.timedeltas(timedelta(days=-2), timedelta(days=2)).map(lambda delta: NOW + delta)
ours = st.sampled_from([row[0] for row in ENDS + WAITS]) | st.builds(AtGate, afterwards, gate=st.just("g")) | st.builds(
    NotYet, afterwards
) | st.builds(NotFound)  # fmt: skip
foreign = st.builds(
    lambda kind: kind(CANARY), st.sampled_from([Exception, ValueError, RuntimeError, KeyError, OSError, RecursionError])
)
errors = ours | foreign | st.sampled_from([row[0] for row in REPEATS])
attempts = st.integers(0, 100)
jitters = st.floats(0, 1, exclude_max=True)


@given(errors, attempts, afterwards, jitters)
def test_nothing_is_ever_scheduled_at_or_past_its_deadline(error, attempt, deadline, jitter):
    made = decision(error, attempt=attempt, deadline=deadline, jitter=jitter)
    assert made.to in MOVES[S.RUNNING]
    assert (made.at is not None) == (made.to is S.SCHEDULED)
    assert made.at is None or made.at < deadline


@given(errors, attempts, afterwards, jitters)
def test_a_decision_explains_itself_in_one_line_that_can_be_shown(error, attempt, deadline, jitter):
    made = decision(error, attempt=attempt, deadline=deadline, jitter=jitter)
    assert made.code.isascii()
    assert made.code.replace("_", "").isalnum()
    assert made.message
    assert made.message.isprintable()
    shown = made.as_error(NOW)
    assert (shown.code, shown.message, shown.at) == (made.code, made.message, NOW)


@given(foreign, attempts, afterwards, jitters)
def test_the_text_of_an_unexpected_error_is_never_shown(error, attempt, deadline, jitter):
    assert "canary" not in repr(decision(error, attempt=attempt, deadline=deadline, jitter=jitter))


def test_an_unexpected_error_is_named_by_its_kind():
    assert decision(ZeroDivisionError(CANARY)).message == "unexpected ZeroDivisionError"


@pytest.mark.parametrize(("error", "code"), named(REPEATS))
@given(jitter=jitters)
def test_what_is_asked_again_ends_after_the_last_attempt(error, code, jitter):
    attempt, now = 0, NOW
    for n in range(1, MAX_ATTEMPTS + 1):
        made = decision(error, attempt=attempt, now=now, jitter=jitter)
        attempt += made.counts
        assert attempt == n
        assert made.to is (S.SCHEDULED if n < MAX_ATTEMPTS else S.FAILED)
        now = made.at or now
    assert made.code == code


@given(st.sampled_from([row[0] for row in REPEATS]), st.integers(0, MAX_ATTEMPTS - 2), jitters)
def test_the_pause_before_asking_again_grows_within_bounds(error, attempt, jitter):
    at = decision(error, attempt=attempt, jitter=jitter).at
    bound = min(BACKOFF_CAP, BACKOFF_BASE * 2**attempt)
    assert at == NOW + jitter * bound
    assert NOW <= at <= NOW + bound


@given(st.sampled_from([row[0] for row in WAITS]), st.integers(1, 50), jitters)
def test_an_outage_however_long_leaves_all_attempts(error, times, jitter):
    now, attempt = NOW, 0
    for _ in range(times):
        made = decision(error, attempt=attempt, now=now, deadline=NOW + timedelta(days=400), jitter=jitter)
        attempt += made.counts
        assert made.at > now
        now = made.at
    assert attempt == 0


def test_no_row_of_the_tables_hides_behind_an_earlier_one_for_a_class_above_it():
    order = [*worker.decision.PAUSES, *worker.decision.ENDS]
    hidden = [(kind, earlier) for n, kind in enumerate(order) for earlier in order[:n] if issubclass(kind, earlier)]
    assert hidden == []
