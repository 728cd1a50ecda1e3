"""What a job's document and journal tell an operator: what happens next, and what may be done."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from actas.cli.job_story import advice, open_step, why_not_retried
from actas.records import EffectState, Job, JobError
from actas.states import FINAL, JobStatus
from actas.stores.effects import Effect

S, E = JobStatus, EffectState
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
JOB = Job(
    id="j",
    jws="h.c.s",
    app="a",
    user="u",
    grant="g",
    provider="x",
    action="x.post",
    payload={"text": "hi"},
    run_at=NOW,
    deadline=NOW + HOUR,
    rev=0,
    status=S.FAILED,
    next_at=NOW,
    created_at=NOW,
)


def journal(*states: EffectState) -> dict[int, Effect]:
    return {n: Effect(state, "w") for n, state in enumerate(states, 1)}


@pytest.mark.parametrize(
    ("states", "step"),
    [
        ([], None),
        ([E.STARTED], 1),
        ([E.UNKNOWN], 1),
        ([E.DONE], None),
        ([E.REFUSED], None),
        ([E.DONE, E.UNKNOWN], 2),
        ([E.DONE, E.DONE], None),
        ([E.DONE, E.REFUSED], None),
    ],
)
def test_the_step_that_nobody_knows_of(states, step):
    assert open_step(journal(*states)) == step


@pytest.mark.parametrize("status", [S.FAILED, S.EXPIRED])
@pytest.mark.parametrize("states", [[], [E.REFUSED], [E.DONE, E.REFUSED]], ids=str)
def test_what_has_certainly_not_been_done_may_be_retried(status, states):
    assert why_not_retried(replace(JOB, status=status), journal(*states), NOW) is None


@pytest.mark.parametrize("states", [[E.STARTED], [E.UNKNOWN], [E.DONE, E.UNKNOWN]], ids=str)
def test_what_the_provider_may_have_done_is_not_retried(states):
    assert "would act twice" in why_not_retried(JOB, journal(*states), NOW)


def test_an_action_that_this_console_does_not_know_counts_as_one_that_must_not_be_repeated():
    assert "would act twice" in why_not_retried(replace(JOB, action="z.do"), journal(E.UNKNOWN), NOW)


@pytest.mark.parametrize("status", sorted(set(S) - {S.FAILED, S.EXPIRED}))
def test_only_failed_and_expired_jobs_are_retried(status):
    assert why_not_retried(replace(JOB, status=status), {}, NOW) == f"the job is {status}"


def test_nothing_is_retried_outside_its_window_or_against_somebodys_will():
    assert "expired" in why_not_retried(JOB, {}, NOW + HOUR)
    assert "stopped" in why_not_retried(replace(JOB, stop=True), {}, NOW)


@pytest.mark.parametrize(
    ("change", "states", "says"),
    [
        ({"status": S.SCHEDULED, "next_at": NOW + HOUR}, [], "waits until 2026-11-23 10:00:00"),
        (
            {"status": S.SCHEDULED, "next_at": NOW + HOUR, "error": JobError("at_gate", "m", NOW)},
            [],
            "waits until 2026-11-23 10:00:00, held up by at_gate",
        ),
        ({"status": S.SCHEDULED}, [], "is sent within seconds"),
        ({"status": S.PARKED}, [], "connect again before 2026-11-23 10:00:00; see: actas grants show g"),
        ({"status": S.PARKED, "held": True}, [], "sign it anew"),
        ({"status": S.UNCERTAIN}, [E.UNKNOWN], "what became: actas jobs resolve j --happened"),
        (
            {"status": S.UNCERTAIN, "action": "x.thread", "payload": {"posts": ["a", "b"]}},
            [E.UNKNOWN],
            "what became of step 1: actas jobs resolve j",
        ),
        (
            {"status": S.UNCERTAIN, "history": ({"at": NOW, "to": "uncertain", "code": "resolved: no"},)},
            [E.UNKNOWN],
            "resolved at 2026-11-23 09:00:00",
        ),
        ({"status": S.FAILED}, [E.REFUSED], "actas jobs retry j"),
        ({"status": S.FAILED, "deadline": NOW}, [E.REFUSED], "only its app can ask"),
        ({"status": S.FAILED}, [E.UNKNOWN], "would act twice"),
    ],
)
def test_an_operator_is_told_what_happens_next_and_what_to_do(change, states, says):
    assert says in advice(replace(JOB, **change), journal(*states), NOW)


@pytest.mark.parametrize("status", list(S))
def test_of_every_state_something_is_told_but_of_those_where_all_is_said(status):
    assert bool(advice(replace(JOB, status=status), {}, NOW)) == (status not in FINAL - {S.FAILED, S.EXPIRED})
