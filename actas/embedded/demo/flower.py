"""A look into Flower, as an operator's browser and scripts have it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from actas.celery_config import ACT_TASK
from actas.embedded import EmbeddedError
from actas.embedded.demo.search import Piece
from actas.embedded.stack import Stack
from actas.http import Http

#: Task id -> what Flower says of it.
Tasks = Mapping[str, Mapping[str, Any]]

SECONDS = 30
PAGES = ("/", "/workers", "/tasks", "/broker", "/metrics", "/api/workers", "/api/tasks", "/api/task/types")


class FlowerApi:
    """Every call may raise EmbeddedError, NotSent or NoReply."""

    def __init__(self, stack: Stack) -> None:
        self._http = Http()
        self._url = stack.flower_url
        user, password = stack.flower_credentials
        self._auth = (user, password)

    def close(self) -> None:
        self._http.close()

    def jobs(self) -> Tasks:
        """Every job that Flower has seen, by its task id."""
        tasks: Tasks = json.loads(self._get(f"/api/tasks?taskname={ACT_TASK}"))
        return tasks

    def workers(self) -> set[str]:
        """The names of the worker processes that Flower has heard of, without their hosts."""
        shown = json.loads(self._get("/workers?json=1"))["data"]
        return {worker["hostname"].partition("@")[0] for worker in shown}

    def answers(self) -> Iterator[Piece]:
        """Everything that Flower shows, with every job's page."""
        for path in (*PAGES, *(f"/task/{task}" for task in self.jobs())):
            yield path, self._get(path)

    def _get(self, path: str) -> bytes:
        reply = self._http.send("GET", self._url + path, seconds=SECONDS, basic_auth=self._auth)
        if reply.status != 200:
            raise EmbeddedError(f"Flower answers {reply.status} to {path}")
        return reply.body
