"""A browser without scripts: pages with forms, cookies, redirects; what an example app is driven with."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Self

import httpx


@dataclass
class Form:
    action: str
    #: Its named inputs, as they are prefilled.
    fields: dict[str, str] = field(default_factory=dict)


class Page(HTMLParser):
    """The forms of a page, the cells of its table by rows, and what it says to its user."""

    def __init__(self, reply: httpx.Response) -> None:
        super().__init__()
        self.status = reply.status_code
        self.url = str(reply.url)
        self.html = reply.text
        self.forms: list[Form] = []
        self._rows: list[list[str]] = []
        #: By role: status, alert.
        self.said: dict[str, str] = {}
        self.text = ""
        self._role: str | None = None
        self._option_of: str | None = None
        self.feed(self.html)

    @property
    def rows(self) -> list[list[str]]:
        """Without its head."""
        return [[cell.strip() for cell in row] for row in self._rows if row]

    def form(self, action: str, **fields: str) -> Form:
        """The form with this action, and with these in it where a page has several."""
        (found,) = [form for form in self.forms if form.action == action and fields.items() <= form.fields.items()]
        return found

    def row(self, text: str) -> list[str]:
        (found,) = [row for row in self.rows if row[0] == text]
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = given.get("name")
        match tag:
            case "form":
                self.forms.append(Form(given.get("action") or ""))
            case "input" | "textarea" if name:
                self.forms[-1].fields[name] = given.get("value") or ""
            case "select" if name:
                self._option_of = name
            case "tr":
                self._rows.append([])
            case "td":
                self._rows[-1].append("")
        if self._role is None:
            self._role = given.get("role")

    def handle_endtag(self, tag: str) -> None:
        if tag == "p":
            self._role = None
        if tag == "select":
            self._option_of = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._role:
            self.said[self._role] = self.said.get(self._role, "") + data
        if self._option_of:
            self.forms[-1].fields.setdefault(self._option_of, data)  # the first one is what is selected
        elif self._rows and self._rows[-1]:
            self._rows[-1][-1] += data


class Browser:
    """One user's, with cookies of its own."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.Client(base_url=base_url, follow_redirects=True, timeout=30)
        self.page: Page

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def open(self, url: str = "/") -> Page:
        return self._see(self._http.get(url))

    def submit(self, form: Form, **typed: str) -> Page:
        return self._see(self.send(form.action, form.fields | typed))

    def send(self, path: str, fields: dict[str, str]) -> httpx.Response:
        """A form's fields, wherever they come from; the page that is shown stays."""
        return self._http.post(path, data=fields)

    def _see(self, reply: httpx.Response) -> Page:
        self.page = Page(reply)
        return self.page
