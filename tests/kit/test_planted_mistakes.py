"""What the battery is for: a mistake in a profile or in an action fails a test, and its message says what to change."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any

import pytest
from pydantic import Field

from actas.actions import Action, ActionHttp, Payload, Refused, Result, Search
from actas.errors import ActasError
from actas.fault_points import FaultPoint
from actas.http import NoReply
from actas.providers.model import FatalError, Provider, RefreshProfile
from actas.testing import ActionBattery, Lists, Made, ProviderBattery, Reply
from actas.testing.bench import Bench, bench
from actas.testing.world import World

Wrong = dict[str, Any]

NOTES = Provider(
    name="notes",
    authorize_url="https://notes.example/oauth/authorize?tenant=all",
    token_url="https://notes.example/oauth/token",
    revoke_url="https://notes.example/oauth/revoke",
    api_url="https://api.notes.example/v1",
    account_path="/me",
    account_id=("user", "id"),
    client_auth="basic",
    base_scopes=("offline",),
    refresh=RefreshProfile(kind="rotating"),
    fatal_errors=(FatalError(error="invalid_grant"), FatalError(error="token_gone")),
    settle_seconds=1,
)
NOTE = Made("POST", "/notes", Reply(201, {"note": {"id": "{id}", "title": "{json.title}"}}), scopes=("notes.write",))
ALL_NOTES = Lists(
    "GET",
    "/notes",
    Reply(200, {"notes": "{items}"}),
    {"id": "{id}", "title": "{json.title}", "created_at": "{at}"},
)


class NotePayload(Payload):
    title: Annotated[str, Field(min_length=1, max_length=40)]


class CreateNote(Action[NotePayload]):
    """As it should be."""

    name = "notes.create"
    provider = "notes"
    scopes = frozenset({"notes.write"})
    idempotent = False
    payload_type = NotePayload

    def perform(self, http: ActionHttp, payload: NotePayload, job_id: str) -> Result:
        match http.request("POST", "/notes", json={"title": payload.title}):
            case {"note": {"id": str(note)}}:
                return Result(note)
        raise NoReply("no id")

    def find(self, http: ActionHttp, payload: NotePayload, job_id: str, search: Search) -> list[str]:
        notes = http.request("GET", "/notes")["notes"]
        since = f"{search.since:%Y-%m-%dT%H:%M:%S.000Z}"
        return [n["id"] for n in reversed(notes) if n["title"] == payload.title and n["created_at"] >= since]


class RightProvider(ProviderBattery):
    provider = NOTES
    token_reply = {"access_token": "a", "token_type": "bearer", "expires_in": 60, "refresh_token": "r", "scope": "s"}
    account_reply = {"user": {"id": 12345, "login": "alice"}}
    account = "12345"
    dead = [Reply(400, {"error": "invalid_grant"}), Reply(400, {"error": "token_gone"})]
    rotates = True


class RightAction(ActionBattery):
    provider = NOTES
    action: Action[Any] = CreateNote()
    payload = {"title": "a note"}
    bad_payloads = [("title", {"title": ""})]
    similar = {"title": "a note, too"}
    api = [NOTE, ALL_NOTES]


class TestNotes(RightProvider):
    """What is right passes."""


class TestNotesWithAKey(RightProvider):
    """A provider whose clients sign, instead of having secrets (RFC 7523)."""

    provider = NOTES.model_copy(update={"name": "notes-jwt", "client_auth": "private_key_jwt"})
    client_auth = "private_key_jwt"
    audience = NOTES.token_url


class TestNotesByIssuer(RightProvider):
    """A provider of which nothing is known but its issuer, which tells the rest (RFC 8414)."""

    provider = Provider(name="notes-oidc", issuer="https://login.notes.example/t1", base_scopes=("openid",))
    account_reply = {"sub": "24400320", "preferred_username": "j.doe"}
    account = "24400320"
    account_at = "https://login.notes.example/t1/userinfo"
    metadata = {
        "issuer": "https://login.notes.example/t1",
        "authorization_endpoint": "https://login.notes.example/t1/authorize",
        "token_endpoint": "https://token.notes.example/t1",
        "revocation_endpoint": "https://token.notes.example/t1/revoke",
        "userinfo_endpoint": "https://login.notes.example/t1/userinfo",
        "authorization_response_iss_parameter_supported": True,
    }
    dead = [Reply(400, {"error": "invalid_grant"})]
    iss = "https://login.notes.example/t1"


class TestCreateNote(RightAction):
    """What is right passes."""


@pytest.fixture
def at(request: pytest.FixtureRequest) -> Iterator[Bench]:
    at = bench(request.config)
    with at.at_its_own_time():
        yield at


Says = Callable[..., str]


@pytest.fixture
def says(at: Bench) -> Says:
    """What a battery's test says of a mistake."""

    def says(battery: type[Any], test: str, *case: Any) -> str:
        whole = battery()
        world: World = whole.make_world(at)
        world.begin()
        with pytest.raises(pytest.fail.Exception) as raised:
            getattr(whole, test)(world, *case)
        return str(raised.value)

    return says


def changed(**fields: Any) -> type[ProviderBattery]:
    """The battery, with a profile that has a mistake."""
    profile = Provider.model_validate(NOTES.model_dump(exclude_unset=True) | fields)
    said = {
        "provider": profile,
        "scopes": ["scopes.read"],
        "account_at": "https://api.notes.example/v1/me",
        "metadata": {"issuer": "https://notes.example", "token_endpoint": "https://notes.example/token"},
    }
    return type("Changed", (RightProvider,), said)


@pytest.mark.parametrize(
    ("fields", "test", "case", "message"),
    [
        (
            {"account_id": ("user", "login")},
            "test_connects_and_knows_whose_account_it_is",
            (),
            r"account_id \('user', 'login'\) leads to 'alice' in the documented reply, and the account's id there is '9",
        ),
        (
            {"account_id": ("id",)},
            "test_connects_and_knows_whose_account_it_is",
            (),
            "connecting does not work: notes did not tell whose account it is",
        ),
        (
            {"account_path": "/whoami"},
            "test_connects_and_knows_whose_account_it_is",
            (),
            "asks at https://api.notes.example/v1/whoami whose account it is; documented is https://api.notes.example/v1/me",
        ),
        (
            {"fatal_errors": ({"error": "invalid_grant"},)},
            "test_a_dead_grant_needs_its_user",
            (Reply(400, {"error": "token_gone"}),),
            r"400 \{'error': 'token_gone'\} means that the user must connect again.*active.*fatal_errors must know it",
        ),
        (
            {"fatal_errors": ({"error": "invalid_client"}, {"error": "invalid_grant"})},
            "test_a_wrong_client_secret_blames_no_user",
            (),
            "which is about the app's credentials, the grant is reauthorization_required",
        ),
        (
            {"refresh": {"kind": "static"}},
            "test_the_refresh_token_is_of_the_kind_that_the_profile_says",
            (),
            "refresh.kind is 'static', and an exchange kills the refresh token.*say 'rotating'",
        ),
        (
            {"refresh": {"kind": "sliding"}},
            "test_a_reply_that_is_lost_ends_in_an_explicit_state",
            (),
            r"the grant is reauthorization_required \(invalid_grant\) and should be .*\(lost_rotation\): see refresh.kind",
        ),
        (
            {"client_auth": "post"},
            "test_connects_and_knows_whose_account_it_is",
            (),
            "refused the app's own client credentials.*authenticates itself with 'post', and 'basic' is demanded",
        ),
        (
            {"pkce": "none"},
            "test_connects_and_knows_whose_account_it_is",
            (),
            "has no S256 code challenge, and one is demanded",
        ),
        (
            {"revoke_url": None},
            "test_disconnecting_revokes_or_says_that_it_cannot",
            (),
            r"everything lives on \(no_revocation_endpoint\): see revoke_url",
        ),
        (
            {"issuer": "https://notes.example"},
            "test_its_issuer_says_the_same",
            (),
            "token_url is https://notes.example/oauth/token, and its issuer's token_endpoint is https://notes.example/token",
        ),
        (
            {"scope_prefix": "s"},
            "test_connects_and_knows_whose_account_it_is",
            (),
            "granted were the scopes .*and the grant has.*scope_prefix",
        ),
        (
            {"rate_limit_headers": "retry-after"},
            "test_a_limit_is_waited_out",
            (Reply(429, headers={"x-ratelimit-remaining": "0", "x-ratelimit-reset": "{reset}"}, pause=900),),
            r"asks to wait 900 s, and it was asked again after \d+ s: rate_limit_headers",
        ),
        (
            {"client_id_parameter": "client_key"},
            "test_the_authorization_request_is_as_documented",
            (),
            "the authorization request lacks client_id=.*client_id_parameter",
        ),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_a_mistake_in_a_profile_is_told(says: Says, fields: Wrong, test: str, case: tuple[Any, ...], message: str):
    assert re.search(message, says(changed(**fields), test, *case), re.DOTALL)


def test_a_profile_that_says_rotating_of_what_lives_on_is_told(says: Says):
    battery = type("Static", (RightProvider,), {"rotates": False})
    said = says(battery, "test_the_refresh_token_is_of_the_kind_that_the_profile_says")
    assert "refresh.kind is 'rotating', and a refresh token lives on after an exchange" in said


def test_a_refresh_token_that_has_to_be_asked_for_is_told(says: Says):
    battery = type("Offline", (RightProvider,), {"authorize_parameters": {"access_type": "offline"}})
    said = says(battery, "test_connects_and_knows_whose_account_it_is")
    assert "gave no refresh token" in said
    assert "the authorization request lacks access_type=offline: so no refresh token is given" in said


# --- actions ---


class ClaimsIdempotent(CreateNote):
    idempotent = True


class FindsAnything(CreateNote):
    def find(self, http: ActionHttp, payload: NotePayload, job_id: str, search: Search) -> list[str]:
        return [note["id"] for note in http.request("GET", "/notes")["notes"]]


class FindsTheOld(CreateNote):
    def find(self, http: ActionHttp, payload: NotePayload, job_id: str, search: Search) -> list[str]:
        notes = http.request("GET", "/notes")["notes"]
        return [note["id"] for note in notes if note["title"] == payload.title]


class FindsNothing(CreateNote):
    def find(self, http: ActionHttp, payload: NotePayload, job_id: str, search: Search) -> list[str]:
        return []


class CannotTell(CreateNote):
    def find(self, http: ActionHttp, payload: NotePayload, job_id: str, search: Search) -> None:
        return None


class WrongField(CreateNote):
    def perform(self, http: ActionHttp, payload: NotePayload, job_id: str) -> Result:
        return Result(str(http.request("POST", "/notes", json={"title": payload.title})["note"]["title"]))


class WrongPath(CreateNote):
    def perform(self, http: ActionHttp, payload: NotePayload, job_id: str) -> Result:
        return Result(str(http.request("POST", "/note", json={"title": payload.title})["note"]["id"]))


class Elsewhere(CreateNote):
    def perform(self, http: ActionHttp, payload: NotePayload, job_id: str) -> Result:
        http.request("POST", "https://stats.example/notes", json={"title": payload.title})
        return super().perform(http, payload, job_id)


class LacksScope(CreateNote):
    scopes = frozenset()


class AnyPayload(Payload):
    title: str


class TakesAnything(CreateNote):
    payload_type = AnyPayload  # type: ignore[assignment]


class TwoRequests(CreateNote):
    def perform(self, http: ActionHttp, payload: NotePayload, job_id: str) -> Result:
        super().perform(http, payload, job_id)
        return super().perform(http, payload, job_id)


class CallsSuccessRefused(CreateNote):
    def perform(self, http: ActionHttp, payload: NotePayload, job_id: str) -> Result:
        try:
            return super().perform(http, payload, job_id)
        except NoReply:
            raise Refused("no id") from None


def found_in(notes: list[Any], payload: NotePayload, since: datetime) -> list[str]:
    text = f"{since:%Y-%m-%dT%H:%M:%S.000Z}"
    return [note["id"] for note in reversed(notes) if note["title"] == payload.title and note["created_at"] >= text]


class FindsTheLast(CreateNote):
    """The newest page only."""

    def find(self, http: ActionHttp, payload: NotePayload, job_id: str, search: Search) -> list[str]:
        return found_in(http.request("GET", "/notes")["notes"][:1], payload, search.since)


class FindsTheRecent(CreateNote):
    """Of the last five minutes."""

    now: Callable[[], datetime]

    def find(self, http: ActionHttp, payload: NotePayload, job_id: str, search: Search) -> list[str]:
        since = max(search.since, self.now() - timedelta(minutes=5))
        return found_in(http.request("GET", "/notes")["notes"], payload, since)


class CallsFailuresAbsence(CreateNote):
    def find(self, http: ActionHttp, payload: NotePayload, job_id: str, search: Search) -> list[str]:
        try:
            return super().find(http, payload, job_id, search)
        except ActasError:
            return []


class ReadsWhateverIsThere(CreateNote):
    def find(self, http: ActionHttp, payload: NotePayload, job_id: str, search: Search) -> list[str]:
        return found_in((http.send("GET", "/notes").body or {}).get("notes", []), payload, search.since)


@pytest.mark.parametrize(
    ("action", "test", "case", "message"),
    [
        (
            ClaimsIdempotent,
            "test_a_lost_reply_does_not_make_it_twice",
            (),
            "the provider has 2 things instead of 1: ClaimsIdempotent says idempotent, .*or say idempotent = False",
        ),
        (
            ClaimsIdempotent,
            "test_a_killed_worker_does_not_make_it_twice",
            (FaultPoint.JOB_ANSWERED,),
            "its worker died at job.answered, and the provider has 2 things instead of 1",
        ),
        (
            FindsAnything,
            "test_what_is_similar_is_not_taken_for_it",
            (),
            "it was not done, and FindsAnything.find took something else for it",
        ),
        (
            FindsTheOld,
            "test_what_is_older_is_not_taken_for_it",
            (),
            "FindsTheOld.find took for it what was made an hour before .*nothing older than search.since is",
        ),
        (
            FindsNothing,
            "test_a_lost_reply_does_not_make_it_twice",
            (),
            "FindsNothing.find did not find what was made, and said that there is nothing",
        ),
        (
            FindsTheLast,
            "test_it_is_found_however_late_somebody_looks",
            (),
            "the provider has .*: FindsTheLast.find must look as far back as search.since, page after page",
        ),
        (
            FindsTheRecent,
            "test_it_is_found_however_late_somebody_looks",
            (),
            "the provider has .*: FindsTheRecent.find must look as far back as search.since, page after page",
        ),
        (
            CallsFailuresAbsence,
            "test_what_cannot_be_looked_up_is_not_called_absent",
            (),
            "and the job is scheduled.*CallsFailuresAbsence.find must let what http raises pass",
        ),
        (
            ReadsWhateverIsThere,
            "test_what_cannot_be_looked_up_is_not_called_absent",
            (),
            "was answered 200 <!doctype html>.*only if the provider says so",
        ),
        (
            CannotTell,
            "test_a_lost_reply_does_not_make_it_twice",
            (),
            "CannotTell.find cannot tell what became of the request",
        ),
        (
            WrongField,
            "test_it_is_done_once",
            (),
            r"the job names \['a note'\] as what was made, and that is \['10000000",
        ),
        (
            WrongPath,
            "test_it_is_done_once",
            (),
            "it is failed .*http_404.*there is nothing at POST /note of its API",
        ),
        (
            Elsewhere,
            "test_it_is_done_once",
            (),
            "it is failed .*foreign_address",
        ),
        (
            LacksScope,
            "test_it_is_done_once",
            (),
            "it is failed .*http_403.*the grant lacks a scope",
        ),
        (
            TakesAnything,
            "test_a_bad_payload_is_refused_at_once",
            (("title", {"title": ""}),),
            r"\{'title': ''\} is accepted, and would be refused .* let AnyPayload refuse it, naming 'title'",
        ),
        (
            TwoRequests,
            "test_it_is_done_once",
            (),
            "the provider has 2 things instead of 1: TwoRequests.*",
        ),
        (
            CallsSuccessRefused,
            "test_a_success_that_says_nothing_does_not_make_it_twice",
            (Reply(200, {}),),
            "a 2xx without what is needed is NoReply, not Refused",
        ),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_mistake_in_an_action_is_told(
    at: Bench,
    says: Says,
    monkeypatch: pytest.MonkeyPatch,
    action: type[Action[Any]],
    test: str,
    case: tuple[Any, ...],
    message: str,
):
    monkeypatch.setattr(FindsTheRecent, "now", staticmethod(at.clock), raising=False)
    battery = type("Changed", (RightAction,), {"action": action()})
    assert re.search(message, says(battery, test, *case), re.DOTALL)


class FindsTheirOwn(CreateNote):
    def find(self, http: ActionHttp, payload: NotePayload, job_id: str, search: Search) -> list[str]:
        notes = [note for note in http.request("GET", "/notes")["notes"] if note["by"] == search.account]
        return found_in(notes, payload, search.since)


EVERYBODYS_NOTES = replace(ALL_NOTES, everybodys=True, item={**ALL_NOTES.item, "by": "{account}"})


class TestNotesOfEverybody(RightAction):
    """What is right passes."""

    action = FindsTheirOwn()
    api = [NOTE, EVERYBODYS_NOTES]


def test_taking_what_is_somebody_elses_is_told(says: Says):
    battery = type("Changed", (RightAction,), {"api": [NOTE, EVERYBODYS_NOTES]})
    said = says(battery, "test_what_somebody_else_made_is_not_taken_for_it")
    assert "CreateNote.find takes what is anybody's for its own (search.account)" in said


def test_a_battery_without_an_endpoint_that_makes_something_is_told(at: Bench):
    battery = type("NoMade", (RightAction,), {"api": [ALL_NOTES]})
    with pytest.raises(pytest.fail.Exception, match="NoMade.api has no Made"):
        battery().make_world(at)
