"""Providers as data: the built-in ones, and what a TOML file may change."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from actas.drilling import Drilling
from actas.errors import SettingsError, UnknownProvider
from actas.providers import BUILT_IN, Provider, Providers
from actas.providers.model import FatalError, RefreshProfile

X = BUILT_IN["x"]

NEW = """
[providers.new]
authorize_url = "https://new.example/authorize"
token_url = "https://new.example/token"
api_url = "https://api.new.example"
account_path = "/me"
account_id = ["id"]
refresh = { kind = "sliding", idle_seconds = 86400 }
"""


@pytest.fixture
def load(tmp_path):
    file = tmp_path / "providers.toml"

    def load(text: str | bytes) -> Providers:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Providers.load(file)

    return load


def test_without_a_file_there_are_the_built_in_ones():
    assert Providers.load()["x"] is X
    assert {name: Providers.load()[name].name for name in BUILT_IN} == {name: name for name in BUILT_IN}


def test_an_unknown_provider_is_refused_with_the_known_ones():
    with pytest.raises(
        UnknownProvider, match="no provider 'z'; known: github, google, linkedin, microsoft, sandbox, x"
    ):
        Providers.load()["z"]


def test_a_table_changes_the_fields_it_names_and_no_other(load):
    changed = load('[providers.x]\ntoken_url = "http://127.0.0.1:8123/2/oauth2/token"\ndefault_expires_seconds = 60')[
        "x"
    ]
    expected = {"token_url": "http://127.0.0.1:8123/2/oauth2/token", "default_expires_seconds": 60}
    assert changed.model_dump() == X.model_dump() | expected
    assert BUILT_IN["x"] is X
    assert X.token_url == "https://api.x.com/2/oauth2/token"


def test_a_table_adds_a_provider_with_safe_defaults(load):
    providers = load(NEW)
    new = providers["new"]
    assert (new.name, new.client_auth, new.revoke_url) == ("new", "basic", None)
    assert new.refresh == RefreshProfile(kind="sliding", idle_seconds=86400)
    assert new.fatal_errors == (FatalError(error="invalid_grant"),)
    assert providers["x"] is X


def test_a_table_cannot_call_its_provider_something_else(load):
    assert load('[providers.x]\nname = "y"')["x"].name == "x"


def test_a_table_within_a_table_changes_the_fields_it_names_and_no_other(load):
    changed = load('[providers.x.refresh]\nlifetime_seconds = 60\nrevocation = "token"')["x"]
    assert changed.refresh == X.refresh.model_copy(update={"lifetime_seconds": 60, "revocation": "token"})
    same = load('[providers.x.refresh]\nkind = "rotating"\nreuse_window_seconds = 30')["x"]
    assert same.refresh == X.refresh.model_copy(update={"reuse_window_seconds": 30})


def test_one_header_or_parameter_is_changed_and_the_others_stay(load):
    linkedin = load('[providers.linkedin.api_headers]\nLinkedIn-Version = "209901"')["linkedin"]
    assert linkedin.api_headers == BUILT_IN["linkedin"].api_headers | {"LinkedIn-Version": "209901"}
    lower = load('[providers.linkedin.api_headers]\nlinkedin-version = "209901"')["linkedin"]
    assert lower.api_headers == {"X-Restli-Protocol-Version": "2.0.0", "linkedin-version": "209901"}, "once, not twice"
    google = load('[providers.google.authorize_parameters]\nhd = "example.com"')["google"]
    assert google.authorize_parameters == BUILT_IN["google"].authorize_parameters | {"hd": "example.com"}


def test_an_issuer_is_all_that_is_needed(load):
    new = load('[providers.new]\nissuer = "https://login.new.example/tenant"')["new"]
    assert (new.api_url, new.account_id) == ("https://login.new.example", ("sub",))
    assert new.refresh == RefreshProfile(kind="rotating"), "safe with all kinds"
    assert (new.is_complete, new.whose_url, new.says_issuer) == (False, None, False)
    assert (new.assertion_audience, new.assertion_algorithm) == ("token_url", None)


@pytest.mark.parametrize("field", Provider.model_fields)
def test_every_field_is_refused_by_its_name_in_some_test(field):
    """So that whoever adds one says here what is wrong there."""
    if field not in {*URL_FIELDS, "name"}:
        assert f"providers.x.{field}" in Path(__file__).read_text()


@pytest.mark.parametrize(
    ("table", "surely"),
    [
        ('[providers.new]\nissuer = "https://login.new.example"', False),
        ('[providers.new]\nissuer = "https://login.new.example"\nrefresh = { kind = "rotating" }', True),
        ('[providers.new]\nissuer = "https://login.new.example"\nrefresh = { kind = "static" }', False),
        (NEW, False),
    ],
)
def test_what_is_only_taken_for_granted_is_promised_to_nobody(load, table, surely):
    """A leak drill would call a thief's token worthless that works."""
    providers = load(table)
    assert providers["new"].surely_rotates is surely
    drilling = Drilling(None, None, None, providers, None)
    rotating = [name for name in ("x", "github", "google", "microsoft", "new", "gone") if drilling._rotates(name)]
    assert rotating == ["x", "github", *(["new"] if surely else [])]


def test_where_the_account_is_asked_for_can_be_moved(load):
    """The one way takes the other's place: both would be two."""
    moved = load('[providers.x]\naccount_url = "https://id.x.example/me"')["x"]
    assert (moved.whose_url, moved.account_path) == ("https://id.x.example/me", None)
    back = load('[providers.google]\naccount_path = "/me"')["google"]
    assert back.whose_url == "https://www.googleapis.com/me"


def test_a_refresh_token_of_another_kind_takes_nothing_over(load, monkeypatch):
    windowed = X.model_copy(update={"refresh": RefreshProfile(kind="rotating", reuse_window_seconds=30)})
    monkeypatch.setattr("actas.providers.BUILT_IN", {"x": windowed})
    static = RefreshProfile(kind="static", lifetime_seconds=60)
    assert load('[providers.x.refresh]\nkind = "static"\nlifetime_seconds = 60')["x"].refresh == static


def test_only_rotating_refresh_tokens_are_for_one_use():
    kinds = ("rotating", "sliding", "static")
    assert [RefreshProfile(kind=kind).rotates for kind in kinds] == [True, False, False]


@pytest.mark.parametrize("text", ["", "# nothing", "[other]\na = 1", "[providers]"])
def test_a_file_may_change_nothing(load, text):
    assert load(text)["x"] == X


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[providers.x]\ntokne_url = "https://x"', "providers.x.tokne_url: Extra inputs are not permitted"),
        ('[providers.x]\ntoken_url = "ftp://x"', "providers.x.token_url: "),
        ("[providers.x]\ntoken_url = 1", "providers.x.token_url: "),
        ('[providers.x]\nclient_auth = "digest"', "providers.x.client_auth: "),
        ('[providers.x]\nrefresh = { kind = "sometimes" }', "providers.x.refresh.kind: "),
        ("[providers.x.refresh]\nlifetime_seconds = 0", "providers.x.refresh.lifetime_seconds: "),
        ("[providers.x.refresh]\nidle_seconds = -1", "providers.x.refresh.idle_seconds: "),
        ("[providers.x.refresh]\nreuse_window_seconds = 0", "providers.x.refresh.reuse_window_seconds: "),
        ("[providers.x.refresh]\nlifetime_seconds = 99999999999", "providers.x.refresh.lifetime_seconds: "),
        ('[providers.x.refresh]\nrevocation = "all"', "providers.x.refresh.revocation: "),
        (
            '[providers.x.refresh]\nkind = "sliding"\nreuse_window_seconds = 60',
            "providers.x.refresh.reuse_window_seconds: Value error, only for rotating tokens",
        ),
        (
            '[providers.x.refresh]\nkind = "static"\nidle_seconds = 60',
            "providers.x.refresh.idle_seconds: Value error, a static token has none",
        ),
        ("[providers.x]\nrefresh = 1", "providers.x.refresh: "),
        ('[providers.new]\ntoken_url = "https://x"\nrefresh = {}', "providers.new.authorize_url: Field required"),
        ('[providers.x]\nfatal_errors = [{ code = "x" }]', "providers.x.fatal_errors.0."),
        ('[providers.x]\naccount_id = "id"', "providers.x.account_id: "),
        ('[providers.new]\ntoken_url = "https://x"', "providers.new.authorize_url: Field required"),
        # names
        ('[providers."A B"]', "providers.A B.name: "),
        ("[providers.webhook]", "providers.webhook.name: "),
        ("[providers.New]", "providers.New.name: "),
        ("[providers.-new]", "providers.-new.name: "),
        ("[providers.new-]", "providers.new-.name: "),
        ('[providers."new.er"]', "providers.new.er.name: "),
        ('[providers."../new"]', "providers.../new.name: "),
        (f"[providers.{'n' * 41}]", f"providers.{'n' * 41}.name: "),
        # with an issuer less is needed, and without one all of it
        ('[providers.x]\nissuer = "https://x.com?tenant=1"', "providers.x.issuer: "),
        ("[providers.x]\nissuer = 1", "providers.x.issuer: "),
        (NEW.replace("token_url", "revoke_url"), "providers.new.token_url: Field required (or issuer"),
        (NEW.replace("api_url", "revoke_url"), "providers.new.api_url: Field required (or issuer"),
        (NEW.replace("account_path", "scope_prefix"), "providers.new.account_url: Field required (or account_path"),
        (NEW.replace('account_id = ["id"]', ""), "providers.new.account_id: Field required"),
        (NEW.replace("refresh = ", "# "), "providers.new.refresh: Field required"),
        # where whose account it is can be asked
        ('[providers.x]\naccount_path = "users/me"', "providers.x.account_path: "),
        ("[providers.x]\naccount_path = 1", "providers.x.account_path: "),
        ('[providers.x]\naccount_path = "/me#id"', "providers.x.account_path: Value error, must be a path without"),
        ('[providers.x]\naccount_path = "/me\\n"', "providers.x.account_path: Value error, must be a path without"),
        (
            '[providers.x]\naccount_url = "https://x.com/me"\naccount_path = "/me"',
            "providers.x.account_url: Value error, either account_url or account_path, not both",
        ),
        ('[providers.x]\nother_api_urls = "https://x.com"', "providers.x.other_api_urls: "),
        ('[providers.x]\nother_api_urls = ["https://x.com", "http://x.com"]', "providers.x.other_api_urls.1: "),
        # addresses that nobody could ask
        ('[providers.x]\napi_url = "https://api.x.com:99999"', "providers.x.api_url: "),
        ('[providers.x]\ntoken_url = "https://api.x.com:443x/token"', "providers.x.token_url: "),
        ('[providers.x]\nrevoke_url = "https://api.x.com\\\\revoke"', "providers.x.revoke_url: "),
        ('[providers.x]\napi_url = "https://api.x.com/?version=2"', "providers.x.api_url: "),
        ('[providers.x]\napi_url = "https://api.x.com/v1/../v2"', "providers.x.api_url: "),
        # what is said with each request
        ('[providers.x]\napi_headers = "v2"', "providers.x.api_headers: "),
        ("[providers.x.api_headers]\nVersion = 2", "providers.x.api_headers.Version: "),
        (
            '[providers.x.api_headers]\nauthorization = "Bearer x"',
            "providers.x.api_headers: Value error, authorization: not to be set",
        ),
        ('[providers.x.api_headers]\nContent-Type = "x"', "providers.x.api_headers: Value error, Content-Type: not"),
        ('[providers.x.api_headers]\n"X Version" = "x"', "providers.x.api_headers: Value error, X Version: not a head"),
        ('[providers.x.api_headers]\nVersion = "a\\nb"', "providers.x.api_headers: Value error, Version: not a header"),
        ('[providers.x.api_headers]\nVersion = "é"', "providers.x.api_headers: Value error, Version: not a header"),
        ("[providers.x.authorize_parameters]\nprompt = 1", "providers.x.authorize_parameters.prompt: "),
        (
            '[providers.x.authorize_parameters]\nstate = "s"\nscope = "all"',
            "providers.x.authorize_parameters: Value error, scope, state: not to be set here",
        ),
        # the client
        ('[providers.x]\nclient_auth = "client_secret_basic"', "providers.x.client_auth: "),
        (
            '[providers.x]\nassertion_audience = "issuer"',
            "providers.x.assertion_audience: Value error, there is no issuer",
        ),
        ('[providers.x]\nassertion_audience = "https://x.com"', "providers.x.assertion_audience: "),
        ('[providers.x]\nassertion_algorithm = "none"', "providers.x.assertion_algorithm: "),
        ('[providers.x]\nassertion_algorithm = "HS256"', "providers.x.assertion_algorithm: "),
        ('[providers.x]\nclient_id_parameter = ""', "providers.x.client_id_parameter: "),
        ('[providers.x]\nclient_id_parameter = "client key"', "providers.x.client_id_parameter: "),
        ('[providers.x]\nclient_id_parameter = "client_secret"', "providers.x.client_id_parameter: Value error, cli"),
        ('[providers.x]\nclient_id_parameter = "refresh_token"', "providers.x.client_id_parameter: Value error, ref"),
        ('[providers.x]\nclient_id_parameter = "device_code"', "providers.x.client_id_parameter: Value error, dev"),
        ('[providers.x]\nclient_id_parameter = "token_type_hint"', "providers.x.client_id_parameter: Value error, tok"),
        # the flow
        ('[providers.x]\npkce = "plain"', "providers.x.pkce: "),
        ('[providers.x]\nsays_issuer = "often"', "providers.x.says_issuer: "),
        ('[providers.x]\nbase_scopes = "users.read"', "providers.x.base_scopes: "),
        ('[providers.x]\nbase_scopes = ["users.read tweet.read"]', "providers.x.base_scopes.0: "),
        ('[providers.x]\ndefault_scopes = ["users.read", ""]', "providers.x.default_scopes.1: "),
        ("[providers.x]\nscope_prefix = 1", "providers.x.scope_prefix: "),
        ("[providers.x]\nscope_at_exchange = 2", "providers.x.scope_at_exchange: "),
        ("[providers.x]\nscope_commas = 2", "providers.x.scope_commas: "),
        # what comes back
        ("[providers.x]\ndefault_expires_seconds = 0", "providers.x.default_expires_seconds: "),
        ("[providers.x]\ndefault_expires_seconds = 99999999999", "providers.x.default_expires_seconds: "),
        ('[providers.x]\nfatal_errors = [{ error = "" }]', "providers.x.fatal_errors.0.error: "),
        ('[providers.x]\nfatal_errors = ["invalid_grant"]', "providers.x.fatal_errors.0: "),
        (
            '[providers.x]\nknown_refusals = [{ status = 403, contains = "dup" }]',
            "providers.x.known_refusals.0.code: Field required",
        ),
        (
            '[providers.x]\nknown_refusals = [{ status = 403, contains = "dup", code = "A B" }]',
            "providers.x.known_refusals.0.code: ",
        ),
        (
            '[providers.x]\nknown_refusals = [{ status = 200, contains = "dup", code = "duplicate" }]',
            "providers.x.known_refusals.0.status: ",
        ),
        ('[providers.x]\nknown_limits = [{ status = 700, contains = "quota" }]', "providers.x.known_limits.0.status: "),
        ("[providers.x]\nknown_limits = [{ status = 403 }]", "providers.x.known_limits.0.contains: Field required"),
        ("[providers.x]\nsettle_seconds = -1", "providers.x.settle_seconds: "),
        ("[providers.x]\nsettle_seconds = nan", "providers.x.settle_seconds: "),
        ('[providers.x]\nrate_limit_headers = "ratelimit"', "providers.x.rate_limit_headers: "),
    ],
)
def test_a_wrong_field_is_named_with_its_file(load, text, where):
    with pytest.raises(SettingsError) as caught:
        load(text)
    assert f"providers.toml: {where}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "providers",
        "[providers",
        "[providers.x]\ntoken_url = ",
        "[providers.x]\n[providers.x]",
        "providers = 1",
        "providers = []",
        "[providers]\nx = 1",
        '[providers]\nx = "https://x"',
        "[[providers]]\na = 1",
        b"\xff\xfe\x00",
        b"[providers.x]\n# \xe9",
    ],
)
def test_a_broken_file_is_one_line_that_names_it(load, text):
    with pytest.raises(SettingsError) as caught:
        load(text)
    assert str(caught.value).startswith("ACTAS_PROVIDERS_FILE ")
    assert "providers.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line_that_names_it(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(SettingsError, match=f"^ACTAS_PROVIDERS_FILE {path}: [A-Z]"):
            Providers.load(path)


URL_FIELDS = ("issuer", "authorize_url", "token_url", "revoke_url", "device_url", "api_url", "account_url")


@pytest.mark.parametrize("field", URL_FIELDS)
@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("https://x.example/token", True),
        ("https://x.example:8443", True),
        ("HTTPS://X.example", True),
        ("http://127.0.0.1:8123/x", True),
        ("http://localhost:8123", True),
        ("http://[::1]:8123", True),
        # tokens travel over TLS
        ("http://x.example/token", False),
        ("http://192.168.0.1", False),
        ("http://0.0.0.0:8123", False),
        ("http://localhost.x.example", False),
        ("http://127.0.0.1.x.example", False),
        ("http://127.0.0.1@x.example", False),
        ("http://x.example#@127.0.0.1", False),
        ("http://x.example/?127.0.0.1", False),
        ("ftp://127.0.0.1", False),
        ("//x.example", False),
        ("x.example", False),
        ("https://", False),
        ("https:x.example", False),
        ("https://[::1", False),
        ("file:///etc/passwd", False),
        ("", False),
        # what urlsplit forgives, and a request would not
        (" https://x.example", False),
        ("https://x.exa\nmple", False),
        ("https://user:password@x.example", False),
        ("https://x.example/#token", False),
    ],
)
def test_an_address_is_https_or_goes_no_further_than_this_machine(load, field, url, taken):
    table = f"[providers.x]\n{field} = {url.encode().decode('unicode_escape')!r}".replace("'", '"')
    if taken:
        assert getattr(load(table)["x"], field) == url
    else:
        with pytest.raises(SettingsError, match=rf"providers\.x\.{field}: "):
            load(table)


REAL = {name: provider for name, provider in BUILT_IN.items() if name != "sandbox"}


@pytest.mark.parametrize("provider", REAL.values(), ids=REAL)
def test_every_built_in_provider_speaks_tls_everywhere(provider):
    urls = [getattr(provider, field) for field in URL_FIELDS if getattr(provider, field) is not None]
    assert all(url.startswith("https://") for url in urls)
    assert provider.is_complete
    assert provider.whose_url.startswith("https://")
    assert provider.account_id


def test_a_provider_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        X.token_url = "https://evil.example"
