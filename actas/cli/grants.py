"""`actas grants`: what became of a grant, and everything it was used for. Tokens cannot be shown, by anybody."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from actas.cli.looking import AsJson, Stores, User, show, text
from actas.errors import MongoRefused, NotFound
from actas.records import Grant
from actas.requests import is_short_text

grants = typer.Typer(help="Grants: list, show.", invoke_without_command=True)

#: A story's last steps; a grant in daily use has thousands.
STEPS = 50


@grants.callback()
def list_grants(context: typer.Context, user: User = None, as_json: AsJson = False) -> None:
    """List grants."""
    if context.invoked_subcommand is not None:
        return
    with Stores.open() as stores:
        found = stores.grants.find(app=stores.app, user=user)
    columns = ["id", *([] if stores.app else ["app"]), "user", "provider", "account", "status", "updated_at"]
    show(columns, [grant_row(grant) for grant in found], as_json=as_json)


@grants.command("show")
def show_grant(
    grant_id: str,
    steps: Annotated[int, typer.Option(min=1, max=10_000, help="How many of its latest uses.")] = STEPS,
    as_json: AsJson = False,
) -> None:
    """Tell a grant's story: how it stands, and who used it when, for what, under which key, with what outcome."""
    with Stores.open() as stores:
        grant = stores.grants.get(grant_id) if is_short_text(grant_id) else None
        if grant is None or stores.app not in {None, grant.app}:
            raise NotFound(f"no grant {grant_id!r:.100}")
        facts = grant_facts(grant)
        try:
            story = [step(row) for row in stores.effects.of_grant(grant.id, steps)]
        except MongoRefused:
            story = []
            print("the journal of its uses is closed to apps; the operator's role may read it", file=sys.stderr)
    if as_json:
        print(json.dumps(facts | {"uses": story}))
        return
    for name, value in facts.items():
        print(f"{name:>22}  {'' if value is None else value}")
    for use in story:
        words = [
            use["kind"],
            use["what"],
            use["state"],
            use["code"],
            f"key v{use['key_version']}" * bool(use["key_version"]),
        ]
        print(f"{use['at']:>22}  {' '.join(word for word in words if word)}  by {use['by']} for {use['for']}")


def grant_row(grant: Grant) -> dict[str, Any]:
    names = ("id", "app", "user", "provider", "account", "status", "connection", "generation", "updated_at")
    row = {name: text(getattr(grant, name)) for name in names}
    return row | {"failure": grant.failure.code if grant.failure else None}


def grant_facts(grant: Grant) -> dict[str, Any]:
    """Everything about a grant that may be shown."""
    names = ("created_at", "last_used_at", "refresh_expires_at", "care_at", "unanswered_at", "overtook_at")
    facts = grant_row(grant) | {name: text(getattr(grant, name)) for name in names}
    facts["scopes"] = " ".join(sorted(grant.scopes))
    if grant.access_token is not None:
        facts["access_expires_at"] = text(grant.access_token.expires_at)
    if grant.data_key is not None:
        facts["data_key_made_at"], facts["key_version"] = text(grant.data_key.made_at), grant.data_key.key_version
    if (failure := grant.failure) is not None:
        since, last = text(failure.first_at), text(failure.last_at)
        facts["failure"] = f"{failure.code}, {failure.count} since {since}, last {last}"
    if (revocation := grant.revocation) is not None:
        said = revocation.get("said") or f"tried {revocation['tries']} times, last {revocation['code']}"
        facts["revocation"] = f"{said} at {text(revocation['at'])}"
    return facts


def step(row: dict[str, Any]) -> dict[str, Any]:
    """One use of a grant, from its row in the journal."""
    kind = row.get("kind", "act")
    job = str(row["_id"]).partition(":")[0] if kind == "act" else row.get("asked_by")
    return {
        "at": text(row.get("started_at")),
        "until": text(row.get("finished_at")),
        "kind": kind,
        "what": row.get("action", f"generation {row['generation']}" if "generation" in row else ""),
        "state": row.get("state"),
        "code": row.get("code"),
        "key_version": row.get("key_version"),
        "by": row.get("owner"),
        "for": job,
    }
