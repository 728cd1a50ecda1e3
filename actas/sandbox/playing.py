"""A persona at work: authorization, tokens, revocation, whose account it is, metadata, and its API."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any, TypedDict, cast
from urllib.parse import unquote_plus, urlencode

from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from actas.sandbox import pages
from actas.sandbox.client_auth import ASSERTION_TYPE, OAuthError, check_signature, read_assertion
from actas.sandbox.misbehaviour import Misbehaviour
from actas.sandbox.personas import Persona, Says, in_place_of
from actas.sandbox.records import Authorization, Counts, FamilyEntry, Reason, Refused
from actas.sandbox.scripted import ThingEntry, Things, asked, matching, said
from actas.sandbox.state import Books, s256

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from actas.clock import Clock
    from actas.sandbox.records import Family, Issued

#: In the place of a code verifier where there is none.
NO_VERIFIER = "-" * 43


class RequestEntry(TypedDict):
    """A request that came: where, whose, and what was answered; its account None where no credential told."""

    method: str
    path: str
    account: str | None
    status: int


class PersonaLedger(TypedDict):
    """All that happened at a persona, or to one account there, oldest first."""

    counts: Counts
    families: list[FamilyEntry]
    things: list[ThingEntry]
    requests: list[RequestEntry]
    #: What was wrong with requests, in words: what a provider's documentation would have told.
    complaints: list[str]


class Wrong(Exception):
    """A request is not as the persona wants it: what it answers, and why in words."""

    def __init__(self, complaint: str, says: Says) -> None:
        super().__init__(complaint)
        self.says = says


class _Books(Books):
    """Which give a refresh token to everybody; whether it is said is the token endpoint's affair."""

    def _issue_first(self, family: Family) -> Issued:
        return self._issue(family, self._first_access_life, self._clock(), with_refresh=True)


class Playing:
    """One persona, with all that happened to it."""

    def __init__(self, name: str, persona: Persona, clock: Clock) -> None:
        self.name = name
        self.persona = persona
        self.misbehaviour = Misbehaviour()
        self.books = _Books(
            clock,
            access_seconds=persona.access_seconds,
            code_seconds=600,
            refresh={persona.client_id: persona.refresh},
        )
        self.things = Things(clock)
        self._clock = clock
        self._complaints: list[str] = []
        self._requests: list[RequestEntry] = []
        #: Who is given no refresh token.
        self._without_refresh: set[str] = set()
        self._assertions: set[str] = set()

    def ledger(self, account: str | None) -> PersonaLedger:
        books = self.books.ledger()
        return PersonaLedger(
            counts=books["counts"],
            families=[family for family in books["families"] if account in {None, family["account"]}],
            things=self.things.entries(account),
            requests=[request for request in self._requests if account in {None, request["account"]}],
            complaints=list(self._complaints),
        )

    async def serve(self, request: Request, path: str) -> Response:
        """Answer one request; ``path`` is what follows the persona's address."""
        who, reply = await self._served(request, path)
        self._requests.append(
            RequestEntry(method=request.method, path=path, account=who, status=getattr(reply, "status_code", 0))
        )
        return reply

    async def _served(self, request: Request, path: str) -> tuple[str | None, Response]:
        match request.method, path:
            case _, "/authorize":
                return None, await self._authorize(request)
            case "POST", "/token":
                return await self._token(request)
            case "POST", "/revoke" if self.persona.revokes:
                return await self._revoke(request)
            case "GET", "/account":
                return await self._account(request)
        if path.startswith("/api"):
            return await self._api(request, path)
        self._complain(f"there is nothing at {request.method} {path}")
        return None, JSONResponse({"error": "not_found"}, 404)

    def metadata(self, address: str) -> dict[str, Any]:
        """What it says of itself as an issuer (RFC 8414 section 2)."""
        methods = {"basic": "client_secret_basic", "post": "client_secret_post"}
        auth = self.persona.client_auth
        return self.persona.metadata or {
            "issuer": address,
            "authorization_endpoint": f"{address}/authorize",
            "token_endpoint": f"{address}/token",
            **({"revocation_endpoint": f"{address}/revoke"} if self.persona.revokes else {}),
            "userinfo_endpoint": f"{address}/account",
            "response_types_supported": ["code"],
            "token_endpoint_auth_methods_supported": [methods.get(auth, auth)],
            "code_challenge_methods_supported": ["S256"] if self.persona.pkce else [],
            "authorization_response_iss_parameter_supported": self.persona.iss is not None,
        }

    # --- the authorization endpoint ----------------------------------------------------------------------------------

    async def _authorize(self, request: Request) -> Response:
        source = await request.form() if request.method == "POST" else request.query_params
        fields = {name: value for name, value in source.items() if isinstance(value, str)}
        try:
            self._check_authorization(fields)
        except Wrong as wrong:
            self._complain(str(wrong))
            return HTMLResponse(pages.error_page(str(wrong)), 400, headers=pages.HEADERS)
        if request.method == "GET":
            shown = fields | {"client_id": self.persona.client_id}
            return HTMLResponse(pages.authorization_page(shown, fields.get("scope", "").split()), headers=pages.HEADERS)
        return self._decided(fields)

    def _check_authorization(self, fields: Mapping[str, str]) -> None:
        persona, nothing = self.persona, Says(status=400)
        if fields.get(persona.client_id_parameter) != persona.client_id:
            raise Wrong(f"the authorization request has no {persona.client_id_parameter} that is known", nothing)
        if fields.get("response_type") != "code" or not fields.get("redirect_uri") or not fields.get("state"):
            raise Wrong("the authorization request lacks response_type=code, redirect_uri or state", nothing)
        challenged = fields.get("code_challenge_method") == "S256" and "code_challenge" in fields
        if persona.pkce and not challenged:
            raise Wrong("the authorization request has no S256 code challenge, and one is demanded", nothing)
        if not persona.pkce and "code_challenge" in fields:
            raise Wrong("the authorization request has a code challenge, which is not understood", nothing)
        unknown = set(fields.get("scope", "").split()) - (persona.scopes or frozenset(fields.get("scope", "").split()))
        if unknown:
            raise Wrong(f"the authorization request asks for unknown scopes: {', '.join(sorted(unknown))}", nothing)

    def _decided(self, fields: Mapping[str, str]) -> Response:
        answer = {"state": fields["state"]} | ({"iss": self.persona.iss} if self.persona.iss else {})
        if fields.get("decision") != "allow":
            return _redirect(fields["redirect_uri"], answer | {"error": "access_denied"})
        username = fields.get("account", "")
        lacking = self._lacking_for_refresh(fields)
        if lacking:
            self._complain(f"the authorization request lacks {lacking}: so no refresh token is given")
            self._without_refresh.add(username)
        authorization = Authorization(
            client_id=self.persona.client_id,
            redirect_uri=fields["redirect_uri"],
            scopes=frozenset(fields.get("scope", "").split()),
            challenge=fields.get("code_challenge", s256(NO_VERIFIER)),
            username=username,
        )
        return _redirect(fields["redirect_uri"], answer | {"code": self.books.issue_code(authorization)})

    def _lacking_for_refresh(self, fields: Mapping[str, str]) -> str:
        wanted = self.persona.authorize_parameters
        lacking = [f"{name}={value}" for name, value in wanted.items() if fields.get(name) != value]
        scope = self.persona.refresh_scope
        if scope is not None and scope not in fields.get("scope", "").split():
            lacking.append(f"the scope {scope}")
        return ", ".join(lacking)

    # --- tokens ------------------------------------------------------------------------------------------------------

    async def _token(self, request: Request) -> tuple[str | None, Response]:
        form = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
        username = self.books.username_of(form.get("refresh_token") or form.get("code") or "")
        rule = self.misbehaviour.take("token", username)

        def act() -> Response:
            self._check_client(request, form)
            match form.get("grant_type"):
                case "authorization_code":
                    return self._redeemed(form, username or "")
                case "refresh_token":
                    return self._refreshed(form)
            raise Wrong("the grant type is unknown", self._error("unsupported_grant_type"))

        return username, await self.misbehaviour.serve(request, rule, lambda: self._answer(act, refusals=True))

    def _redeemed(self, form: Mapping[str, str], username: str) -> Response:
        verifier = form.get("code_verifier")
        if (verifier is not None) != self.persona.pkce:
            said_of_it = "no code_verifier" if self.persona.pkce else "a code_verifier, which is not understood"
            raise Wrong(f"the code exchange has {said_of_it}", self._error("invalid_request"))
        issued = self.books.redeem_code(
            form.get("code", ""),
            client_id=self.persona.client_id,
            redirect_uri=form.get("redirect_uri", ""),
            verifier=verifier or NO_VERIFIER,
        )
        body = self._token_body(self.persona.token_reply, issued, issued.refresh_token)
        if username in self._without_refresh:
            body.pop("refresh_token", None)
        return JSONResponse(body, headers={"cache-control": "no-store"})

    def _refreshed(self, form: Mapping[str, str]) -> Response:
        issued = self.books.refresh(form.get("refresh_token", ""), client_id=self.persona.client_id)
        template = self.persona.refresh_reply
        body = self._token_body(
            self.persona.token_reply if template is None else template,
            issued,
            issued.refresh_token or form.get("refresh_token"),
        )
        if issued.refresh_token is not None:  # whatever the example has: nobody could go on without it
            body["refresh_token"] = issued.refresh_token
        return JSONResponse(body, headers={"cache-control": "no-store"})

    def _token_body(self, template: Mapping[str, Any], issued: Issued, refresh_token: str | None) -> dict[str, Any]:
        """The documented reply, with tokens of the sandbox's own where it has some."""
        body = {**template, "access_token": issued.access_token}
        if "refresh_token" in template:
            body["refresh_token"] = refresh_token
        if "scope" in template:
            body["scope"] = self.persona.named(issued.scopes)
        return body

    async def _revoke(self, request: Request) -> tuple[str | None, Response]:
        form = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
        username = self.books.username_of(form.get("token", ""))
        rule = self.misbehaviour.take("revoke", username)

        def act() -> Response:
            self._check_client(request, form)
            self.books.revoke(form.get("token", ""), client_id=self.persona.client_id)
            return Response(status_code=200)

        return username, await self.misbehaviour.serve(request, rule, lambda: self._answer(act))

    # --- who the client is -------------------------------------------------------------------------------------------

    def _check_client(self, request: Request, form: Mapping[str, str]) -> None:
        """Make sure that the client proves itself in the one way that is documented.

        Raises:
            Wrong: with what is documented for that.
        """
        wanted, used = self.persona.client_auth, _way(request, form)
        if used != wanted:
            raise Wrong(
                f"the client authenticates itself with {used!r}, and {wanted!r} is demanded", self.persona.wrong_client
            )
        client_id, proof = self._client_and_proof(request, form)
        if client_id != self.persona.client_id:
            name = self.persona.client_id_parameter
            raise Wrong(f"the token request has no {name} that is known", self.persona.wrong_client)
        known = [secret.get_secret_value().encode() for secret in self.persona.client_secrets]
        if wanted in {"basic", "post"} and not any(secrets.compare_digest(proof.encode(), each) for each in known):
            raise Wrong("the client secret is wrong", self.persona.wrong_client)

    def _client_and_proof(self, request: Request, form: Mapping[str, str]) -> tuple[str, str]:
        match self.persona.client_auth:
            case "basic":
                encoded = request.headers["authorization"].partition(" ")[2]
                try:
                    client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
                except ValueError:
                    raise Wrong("the Basic header cannot be read", self.persona.wrong_client) from None
                return unquote_plus(client_id), unquote_plus(secret)
            case "private_key_jwt":
                return self._asserted(form), ""
        return form.get(self.persona.client_id_parameter, ""), form.get("client_secret", "")

    def _asserted(self, form: Mapping[str, str]) -> str:
        """Who signed an assertion (RFC 7523 section 3)."""
        try:
            claims, client_id = read_assertion(form.get("client_assertion", ""))
            check_signature(form["client_assertion"], self.persona.client_jwks or {})
        except OAuthError as error:
            raise Wrong(error.description, self.persona.wrong_client) from None
        fresh = isinstance(claims.get("exp"), int | float) and claims["exp"] > self._clock().timestamp()
        if not fresh or claims.get("iss") != client_id or not claims.get("aud"):
            raise Wrong("the assertion lacks exp, aud, or iss and sub that are the same", self.persona.wrong_client)
        if self.persona.audience not in {None, claims["aud"]}:
            raise Wrong(f"the assertion is for {claims['aud']!r}", self.persona.wrong_client)
        if claims.get("jti") in self._assertions:
            raise Wrong("the assertion is used a second time", self.persona.wrong_client)
        self._assertions.add(str(claims.get("jti")))
        return client_id

    # --- with an access token ----------------------------------------------------------------------------------------

    async def _account(self, request: Request) -> tuple[str | None, Response]:
        token = _bearer(request)
        username = self.books.username_of(token)
        rule = self.misbehaviour.take("me", username)

        def act() -> Response:
            self._check_headers(request)
            family = self.books.authenticate(token, ())
            return JSONResponse(in_place_of(self.persona.account_reply, self.persona.account, family.username))

        return username, await self.misbehaviour.serve(request, rule, lambda: self._answer(act))

    async def _api(self, request: Request, path: str) -> tuple[str | None, Response]:
        token, body = _bearer(request), await request.body()
        username = self.books.username_of(token)
        found = matching(self.persona.api, request.method, path)
        if found is None:
            self._complain(f"there is nothing at {request.method} {path.removeprefix('/api')} of its API")
            return username, JSONResponse({"error": "not_found"}, 404)
        endpoint, parts = found
        rule = self.misbehaviour.take(cast("Any", endpoint.does), username)  # wider than the X-shaped provider's

        def act() -> Response:
            self._check_headers(request)
            family = self.books.authenticate(token, endpoint.scopes)
            return self.things.answer(endpoint, family.username, asked(request, body, parts))

        return username, await self.misbehaviour.serve(request, rule, lambda: self._answer(act))

    def _check_headers(self, request: Request) -> None:
        for name, value in self.persona.api_headers.items():
            if request.headers.get(name) != value:
                raise Wrong(f"the request has no header {name}: {value}", Says(status=400, body={"error": name}))

    # --- what is said ------------------------------------------------------------------------------------------------

    def _answer(self, act: Callable[[], Response], *, refusals: bool = False) -> Response:
        try:
            return act()
        except Wrong as wrong:
            self._complain(str(wrong))
            says = wrong.says
        except Refused as refused:
            self._complain(refused.reason.value)
            says = self._refusal(refused.reason)
        if refusals:
            self.books.note_refusal()
        return said(says, {})

    def _refusal(self, reason: Reason) -> Says:
        match reason:
            case Reason.TOKEN:
                return self.persona.dead
            case Reason.UNAUTHORIZED:
                return Says(status=401, body={"error": "invalid_token"})
            case Reason.SCOPE:
                return Says(status=403, body={"error": "insufficient_scope"})
        return self._error("invalid_grant")

    def _error(self, code: str) -> Says:
        return Says(status=self.persona.error_status, body={"error": code})

    def _complain(self, text: str) -> None:
        self._complaints.append(text)


def _way(request: Request, form: Mapping[str, str]) -> str:
    """How a client proves itself: all ways that it uses."""
    ways = []
    if request.headers.get("authorization", "").lower().startswith("basic "):
        ways.append("basic")
    if "client_secret" in form:
        ways.append("post")
    if form.get("client_assertion_type") == ASSERTION_TYPE:
        ways.append("private_key_jwt")
    return " and ".join(ways) or "none"


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _redirect(uri: str, answer: Mapping[str, str]) -> Response:
    return RedirectResponse(f"{uri}{'&' if '?' in uri else '?'}{urlencode(answer)}", 302)
