"""Providers as data: the built-in ones, and what a TOML file may change."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from actas.errors import SettingsError, UnknownProvider
from actas.providers import BUILT_IN, Providers
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
