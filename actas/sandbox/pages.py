"""The pages for people, and the one for errors. Everything that comes from outside is escaped."""

from __future__ import annotations

from collections import defaultdict
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from actas.sandbox.records import Post

#: No script, no foreign content, no framing; and authorization URLs stay out of Referer headers.
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
USUAL_ACCOUNTS = ("alice", "bob", "carol")
REFRESH_SECONDS = 3

_STYLE = """
:root { color-scheme: light dark; --edge: #8884; --quiet: #8b8b93; --accent: #2f6fdf; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 36rem; margin: 3rem auto; padding: 0 1rem; }
h1 { font-size: 1.25rem; }
p, time { color: var(--quiet); }
article, form { border: 1px solid var(--edge); border-radius: 12px; padding: 1rem 1.25rem; margin: 1rem 0; }
section.reply { border-left: 2px solid var(--edge); margin-top: .75rem; padding-left: 1rem; }
article p { color: inherit; margin: .25rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
time { font-size: .85rem; margin-left: .5rem; }
input { font: inherit; width: 100%; padding: .5rem .75rem; border: 1px solid var(--edge); border-radius: 8px; }
button { font: inherit; padding: .5rem 1.5rem; margin: 1rem .5rem 0 0; }
button { border: 1px solid var(--edge); border-radius: 99px; }
button[value=allow] { background: var(--accent); border-color: var(--accent); color: #fff; }
"""


def authorization_page(request: Mapping[str, str], scopes: Iterable[str]) -> str:
    """The question to the user; ``request`` is the checked authorization request, carried along in hidden fields."""
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in request.items()
    )
    options = "".join(f'<option value="{escape(account)}">' for account in USUAL_ACCOUNTS)
    items = "".join(f"<li>{escape(scope)}</li>" for scope in sorted(scopes))
    client = escape(request["client_id"])
    return _page(
        "Authorize",
        f"""<h1>The sandbox asks: may {client} post as …?</h1>
<form method="post">{hidden}
<input name="account" aria-label="account" list="accounts" value="{escape(USUAL_ACCOUNTS[0])}" required autofocus>
<datalist id="accounts">{options}</datalist>
<p>It wants these scopes:</p><ul>{items}</ul>
<button name="decision" value="allow">Allow</button><button name="decision" value="deny">Deny</button>
</form>""",
    )


def device_page(user_code: str, client_id: str | None, scopes: Iterable[str]) -> str:
    """Where a user enters the code that a device shows (RFC 8628 section 3.3); one that is known says who asks."""
    options = "".join(f'<option value="{escape(account)}">' for account in USUAL_ACCOUNTS)
    items = "".join(f"<li>{escape(scope)}</li>" for scope in sorted(scopes))
    asks = f"<p>{escape(client_id)} asks, for these scopes:</p><ul>{items}</ul>" if client_id else ""
    return _page(
        "Enter a code",
        f"""<h1>The sandbox asks: which code does your device show?</h1>
<form method="post">
<input name="user_code" aria-label="code" value="{escape(user_code)}" required autofocus autocomplete="off">
<p>Only if you began this yourself. It may then post as …</p>
<input name="account" aria-label="account" list="accounts" value="{escape(USUAL_ACCOUNTS[0])}" required>
<datalist id="accounts">{options}</datalist>{asks}
<button name="decision" value="allow">Allow</button><button name="decision" value="deny">Deny</button>
</form>""",
    )


def notice_page(message: str) -> str:
    return _page(message, f"<h1>{escape(message)}</h1><p>You may close this window.</p>")


def timeline_page(posts: Sequence[Post]) -> str:
    """Posts, given newest first: each thread together, from its beginning, where its newest post would be."""
    shown = {post.id for post in posts}
    replies: dict[str, list[Post]] = defaultdict(list)
    beginnings = []
    for post in posts:
        if post.reply_to in shown:
            replies[str(post.reply_to)].append(post)
        else:
            beginnings.append(post)
    threads = [_thread(beginning, replies) for beginning in beginnings]
    place = {post.id: number for number, post in enumerate(posts)}
    threads.sort(key=lambda thread: min(place[post.id] for post in thread))
    articles = "".join(f"<article>{''.join(map(_post, thread))}</article>" for thread in threads)
    return _page(
        "Sandbox timeline",
        f"<h1>Sandbox timeline</h1>{articles or '<p>Nobody has said anything yet.</p>'}",
        head=f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">',
    )


def _thread(beginning: Post, replies: Mapping[str, Sequence[Post]]) -> list[Post]:
    """A post and all that replies to it, or to one of these, each right behind what it replies to."""
    thread: list[Post] = []
    left = [beginning]
    while left:
        thread.append(left.pop())
        left += replies.get(thread[-1].id, ())  # newest first, so the oldest is taken next
    return thread


def _post(post: Post) -> str:
    reply = ' class="reply"' if post.reply_to else ""
    return (
        f"<section{reply}><strong>@{escape(post.username)}</strong>"
        f'<time datetime="{post.at.isoformat()}">{post.at:%Y-%m-%d %H:%M:%S} UTC</time>'
        f"<p>{escape(post.text)}</p>{_attached(post)}</section>"
    )


def _attached(post: Post) -> str:
    attached = post.attached
    items = list(attached.poll.options if attached.poll else ()) + [f"media {each}" for each in attached.media_ids]
    items += [f"quotes {attached.quote}"] if attached.quote else []
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>" if items else ""


def error_page(message: str) -> str:
    """What is wrong, shown to the user because there is no safe place to redirect to (RFC 6749 section 4.1.2.1)."""
    return _page(message, f"<h1>This does not work</h1><p>{escape(message)}</p>")


def _page(title: str, body: str, *, head: str = "") -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{head}<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )
