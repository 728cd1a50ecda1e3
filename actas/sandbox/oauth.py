"""The authorization server: authorization page, token endpoint, revocation; its words are X's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from actas.clock import utc_now
from actas.sandbox import pages
from actas.sandbox.client_auth import ClientAuthentication, OAuthError
from actas.sandbox.records import Authorization, Reason, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.datastructures import FormData, QueryParams
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from actas.clock import Clock
    from actas.sandbox.config import Client
    from actas.sandbox.device import Devices
    from actas.sandbox.misbehaviour import Misbehaviour
    from actas.sandbox.records import Issued
    from actas.sandbox.state import Books

SCOPES = frozenset({"tweet.read", "tweet.write", "users.read", "like.write", "media.write", "offline.access"})
AUTHORIZATION_FIELDS = (
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
)
USERNAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
S256_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # RFC 7636 section 4.2
VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636 section 4.1

#: Characters of a long token: as many as an identity provider's with all of a user's groups in it.
LONG = 16_384

#: X says invalid_request where RFC 6749 section 5.2 says invalid_grant.
DESCRIPTIONS = {
    Reason.CODE: "Value passed for the authorization code was invalid.",
    Reason.REDIRECT_URI: "Value passed for the redirect uri did not match the uri of the authorization code.",
    Reason.VERIFIER: "Value passed for the code verifier did not match the code challenge.",
    Reason.TOKEN: "Value passed for the token was invalid.",
}


class OAuth:
    def __init__(
        self,
        clients: Mapping[str, Client],
        books: Books,
        devices: Devices,
        misbehaviour: Misbehaviour,
        clock: Clock = utc_now,
    ) -> None:
        self._clients = clients
        self._authentication = ClientAuthentication(clients, clock)
        self._books = books
        self._devices = devices
        self._misbehaviour = misbehaviour

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/i/oauth2/authorize", self.ask, methods=["GET"]),
            Route("/i/oauth2/authorize", self.decide, methods=["POST"]),
            Route("/2/oauth2/token", self.token, methods=["POST"]),
            Route("/2/oauth2/revoke", self.revoke, methods=["POST"]),
        ]

    # --- the authorization endpoint (RFC 6749 section 4.1.1) ---------------------------------------------------------

    async def ask(self, request: Request) -> Response:
        fields = strings(request.query_params)
        if bad := self._refuse(fields):
            return bad
        carried = {name: fields[name] for name in AUTHORIZATION_FIELDS}
        return HTMLResponse(pages.authorization_page(carried, fields["scope"].split()), headers=pages.HEADERS)

    async def decide(self, request: Request) -> Response:
        fields = strings(await request.form())
        if bad := self._refuse(fields):
            return bad
        if fields.get("decision") != "allow":
            return _redirect(fields, error="access_denied")
        username = fields.get("account", "").strip()
        if not USERNAME.fullmatch(username):
            return _shown("An account is 1 to 40 letters, digits, dots, hyphens and underscores.")
        authorization = Authorization(
            client_id=fields["client_id"],
            redirect_uri=fields["redirect_uri"],
            scopes=frozenset(fields["scope"].split()),
            challenge=fields["code_challenge"],
            username=username,
        )
        return _redirect(fields, code=self._books.issue_code(authorization))

    def _refuse(self, fields: Mapping[str, str]) -> Response | None:
        """What is wrong with an authorization request; None if nothing is.

        An unknown client or address is shown, never redirected to (RFC 6749 section 4.1.2.1).
        """
        client = self._clients.get(fields.get("client_id", ""))
        if client is None:
            return _shown("No client of this sandbox has this client_id.")
        if not client.accepts(fields.get("redirect_uri", "")):
            return _shown("This redirect_uri is not one of the client's.")
        error = _request_error(fields)
        return _redirect(fields, error=error) if error else None

    # --- the token endpoint (RFC 6749 section 3.2) and revocation (RFC 7009) -----------------------------------------

    async def token(self, request: Request) -> Response:
        form = strings(await request.form())
        username = self._books.username_of(form.get("refresh_token") or form.get("code") or "")
        username = username or self._devices.username_of(form.get("device_code", ""))
        rule = self._misbehaviour.take("token", username)
        how = rule.how if rule else None

        def act() -> Response:
            client_id = self.authenticate(request, form)
            issued = self._issue(client_id, form, keep=how == "keep_refresh_token")
            if how == "long_tokens":
                issued = self._books.lengthen(issued, LONG)
            body = token_body(issued, self._clients[client_id])
            if how == "no_expires_in":
                del body["expires_in"]
            if rule and how == "altered":
                body = {name: value for name, value in {**body, **rule.body}.items() if value is not None}
            headers = {"cache-control": "no-store"} | (rule.headers if rule else {})  # RFC 6749 section 5.1
            return JSONResponse(body, headers=headers)

        return await self._misbehaviour.serve(request, rule, lambda: self.answer(act, counted=True))

    async def revoke(self, request: Request) -> Response:
        form = strings(await request.form())
        rule = self._misbehaviour.take("revoke", self._books.username_of(form.get("token", "")))

        def act() -> Response:
            self._books.revoke(_required(form, "token"), client_id=self.authenticate(request, form))
            return JSONResponse({"revoked": True})

        return await self._misbehaviour.serve(request, rule, lambda: self.answer(act, counted=False))

    def _issue(self, client_id: str, form: Mapping[str, str], *, keep: bool) -> Issued:
        match _required(form, "grant_type"):
            case "authorization_code":
                verifier = _required(form, "code_verifier")
                if not VERIFIER.fullmatch(verifier):
                    raise Refused(Reason.VERIFIER)
                return self._books.redeem_code(
                    _required(form, "code"),
                    client_id=client_id,
                    redirect_uri=_required(form, "redirect_uri"),
                    verifier=verifier,
                )
            case "refresh_token":
                return self._books.refresh(_required(form, "refresh_token"), client_id=client_id, keep=keep)
            case "urn:ietf:params:oauth:grant-type:device_code":
                username, scopes = self._devices.redeem(_required(form, "device_code"), client_id)
                return self._books.make_grants(client_id, [username], scopes)[0]
        raise OAuthError(400, "unsupported_grant_type", "The grant type is none of those of this sandbox.")

    def authenticate(self, request: Request, form: Mapping[str, str]) -> str:
        """The client's id, proven in the way it is registered for."""
        return self._authentication.client_id(request, form)

    def answer(self, act: Callable[[], Response], *, counted: bool) -> Response:
        try:
            return act()
        except Refused as refused:
            error = OAuthError(400, "invalid_request", DESCRIPTIONS[refused.reason])
        except OAuthError as refused:
            error = refused
        if counted:
            self._books.note_refusal()
        headers = {"www-authenticate": 'Basic realm="sandbox"'} if error.status == 401 else None
        body = {"error": error.error, "error_description": error.description}
        return JSONResponse(body, error.status, headers)


def _request_error(fields: Mapping[str, str]) -> str | None:
    """What to tell the client about its request (RFC 6749 section 4.1.2.1); X requires a state and S256."""
    if fields.get("response_type") != "code":
        return "unsupported_response_type"
    challenged = fields.get("code_challenge_method") == "S256" and S256_CHALLENGE.fullmatch(
        fields.get("code_challenge", "")
    )
    if not challenged or not fields.get("state"):
        return "invalid_request"
    scopes = set(fields.get("scope", "").split())
    return None if scopes and scopes <= SCOPES else "invalid_scope"


def strings(fields: FormData | QueryParams) -> dict[str, str]:
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def _required(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise OAuthError(400, "invalid_request", f"Missing required parameter [{name}].")
    return value


def token_body(issued: Issued, client: Client) -> dict[str, object]:
    """A successful token reply (RFC 6749 section 5.1)."""
    body: dict[str, object] = {
        "token_type": "bearer",
        "access_token": issued.access_token,
        "expires_in": issued.expires_in,
        "scope": " ".join(sorted(issued.scopes)),
    }
    if issued.refresh_token is not None:
        body["refresh_token"] = issued.refresh_token
    if client.say_refresh_expiry and issued.refresh_expires_in is not None:
        body["refresh_token_expires_in"] = issued.refresh_expires_in
    return body


def _redirect(fields: Mapping[str, str], **answer: str) -> Response:
    """Back to the client, with the state it gave (RFC 6749 sections 4.1.2 and 4.1.2.1)."""
    if state := fields.get("state"):
        answer["state"] = state
    uri = fields["redirect_uri"]
    return RedirectResponse(f"{uri}{'&' if '?' in uri else '?'}{urlencode(answer)}", 302)


def _shown(message: str) -> Response:
    return HTMLResponse(pages.error_page(message), 400, headers=pages.HEADERS)
