"""Events in a Google calendar: ``POST /calendar/v3/calendars/{calendarId}/events``.

Sources: developers.google.com/workspace/calendar, "Events" (the resource), "Events: insert", "Events: get", "Handle
API errors" (409 for an id that is taken: "The requested identifier already exists").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, model_validator

from actas.actions.base import Action, ActionHttp, Refused, Result, Search
from actas.actions.mail import Address
from actas.http import NoReply
from actas.payload import Payload

SCOPE = "https://www.googleapis.com/auth/calendar.events"

#: support.google.com/calendar, "Invite people to your Calendar event": more only by a group's address.
MOST_GUESTS = 200

DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
#: RFC 3339 section 5.6; "a time zone offset is required unless a time zone is explicitly specified" (Events).
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})?")

#: The word for a user's own, or an address, as all calendars have: team@group.calendar.google.com, and with # in it.
CALENDAR = re.compile(r"primary|[A-Za-z0-9.!#$&'*+=^_{|}~-]{1,200}@[A-Za-z0-9.-]{1,200}")

#: Events, recurrence[]: "RRULE, EXRULE, RDATE and EXDATE lines ... as specified in RFC5545. DTSTART and DTEND lines are
#: not allowed".
RECURRENCE = re.compile(r"(?:RRULE|EXRULE|RDATE|EXDATE)[:;][\x20-\x7e]{1,500}")

#: An event's property that only this app's copy of it shows: whose it is.
JOB = "actas-job"


def _moment(text: str) -> str:
    if not (DATE.fullmatch(text) or TIME.fullmatch(text)):
        raise ValueError("must be a date, such as 2026-12-01, or a time, such as 2026-12-01T09:00:00+01:00")
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a day and a time that there are") from None
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError("must be the name of an IANA time zone, such as Europe/Zurich") from None
    except KeyError:
        if available_timezones():  # a machine without that database knows none
            raise ValueError("must be the name of an IANA time zone, such as Europe/Zurich") from None
    return name


def _rule(line: str) -> str:
    if not RECURRENCE.fullmatch(line):
        raise ValueError("must be an RRULE, EXRULE, RDATE or EXDATE line, such as RRULE:FREQ=WEEKLY;COUNT=4")
    return line


def _calendar(name: str) -> str:
    if not CALENDAR.fullmatch(name):
        raise ValueError("must be primary, or a calendar's address, such as team@group.calendar.google.com")
    return name


Moment = Annotated[str, AfterValidator(_moment)]


class EventPayload(Payload):
    summary: Annotated[str, Field(min_length=1)]
    #: Two dates for an event of whole days, or two times.
    start: Moment
    #: The first moment, or the first day, after it.
    end: Moment
    time_zone: Annotated[str, AfterValidator(_zone)] | None = None
    calendar: Annotated[str, AfterValidator(_calendar)] = "primary"
    description: str | None = None
    location: str | None = None
    guests: Annotated[tuple[Address, ...], Field(max_length=MOST_GUESTS)] = ()
    #: Whom Google sends invitations.
    send_updates: Literal["all", "externalOnly", "none"] = "none"
    recurrence: Annotated[tuple[Annotated[str, AfterValidator(_rule)], ...], Field(max_length=50)] = ()

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.whole_days != bool(DATE.fullmatch(self.end)):
            raise ValueError("start and end must be two dates, or two times")
        if self.whole_days and self.time_zone is not None:
            raise ValueError("time_zone is for times; a day is a day everywhere")
        if not self.whole_days:
            self._check_zone()
        if not self._begin() < self._end():
            raise ValueError("end must be after start (of whole days: the day after the last one)")
        if self.send_updates != "none" and not self.guests:
            raise ValueError("send_updates is for guests, and there are none")
        return self

    def _check_zone(self) -> None:
        if self.time_zone is None and not (self._has_offset(self.start) and self._has_offset(self.end)):
            raise ValueError("a time needs an offset from UTC, such as +01:00, or a time_zone")
        if self._has_offset(self.start) != self._has_offset(self.end):
            raise ValueError("start and end must both have an offset from UTC, or neither")
        if self.time_zone is None and self.recurrence:  # "for recurring events this field is required" (Events)
            raise ValueError("recurrence needs a time_zone, in which it recurs")

    @property
    def whole_days(self) -> bool:
        return DATE.fullmatch(self.start) is not None

    @staticmethod
    def _has_offset(time: str) -> bool:
        return datetime.fromisoformat(time).tzinfo is not None

    def _begin(self) -> datetime:
        return datetime.fromisoformat(self.start)

    def _end(self) -> datetime:
        return datetime.fromisoformat(self.end)


class CreateEvent(Action[EventPayload]):
    """A new event. Its id is made from the job's, so that Google refuses to make it twice.

    (Google does not guarantee to notice that at once everywhere; of two requests with one id it speaks of a risk of
    collisions. We send one after the other.)
    """

    name = "google.calendar.create_event"
    provider = "google"
    scopes = frozenset({SCOPE})
    idempotent = True
    payload_type = EventPayload

    def perform(self, http: ActionHttp, payload: EventPayload, job_id: str) -> Result:
        query = {"sendUpdates": payload.send_updates}
        body = event(payload, job_id)
        try:
            made = http.request("POST", events(payload.calendar), json=body, query=query)
        except Refused as error:
            if error.refusal != "duplicate":
                raise
            return self._made_before(http, payload, job_id)
        if made.get("id") != body["id"]:
            raise NoReply("Google accepted the event but named another id")
        return Result(body["id"])

    def find(
        self,
        http: ActionHttp,
        payload: EventPayload,
        job_id: str,
        search: Search,  # noqa: ARG002 - there is one such id
    ) -> Sequence[str] | None:
        try:
            there = self._get(http, payload, job_id)
        except Refused as error:
            if error.refusal == "http_404":
                return []
            raise
        return [event_id(job_id)] if is_ours(there, job_id) else None

    def _made_before(self, http: ActionHttp, payload: EventPayload, job_id: str) -> Result:
        if not is_ours(self._get(http, payload, job_id), job_id):
            raise Refused("there is an event with this id that is none of ours", refusal="duplicate")
        return Result(event_id(job_id))

    @staticmethod
    def _get(http: ActionHttp, payload: EventPayload, job_id: str) -> Mapping[str, Any]:
        return http.request("GET", f"{events(payload.calendar)}/{event_id(job_id)}")


def event_id(job_id: str) -> str:
    """An event's id, from its job's: of a-v and 0-9, 5 to 1024 characters (Events, id), as hexadecimal digits are."""
    return UUID(job_id).hex


def events(calendar: str) -> str:
    """Where a calendar's events are."""
    return f"/calendar/v3/calendars/{quote(calendar, safe='')}/events"


def event(payload: EventPayload, job_id: str) -> dict[str, Any]:
    """The event as Google takes it. Pure."""
    kind = "date" if payload.whole_days else "dateTime"
    zone = {"timeZone": payload.time_zone} if payload.time_zone else {}
    body: dict[str, Any] = {
        "id": event_id(job_id),
        "summary": payload.summary,
        "start": {kind: payload.start, **zone},
        "end": {kind: payload.end, **zone},
        # A property's name has at most 44 characters, its value 1024 ("Extended properties").
        "extendedProperties": {"private": {JOB: job_id}},
    }
    for field in ("description", "location"):
        if (value := getattr(payload, field)) is not None:
            body[field] = value
    if payload.guests:
        body["attendees"] = [{"email": guest} for guest in payload.guests]
    if payload.recurrence:
        body["recurrence"] = list(payload.recurrence)
    return body


def is_ours(there: Mapping[str, Any], job_id: str) -> bool:
    """Whether an event is the job's. What its user has deleted shows nothing any more but its id, and that was ours."""
    match there:
        case {"extendedProperties": {"private": {"actas-job": str(whose)}}}:
            return whose == job_id
        case {"id": str(there_id), "status": "cancelled"}:
            return there_id == event_id(job_id)
    return False
