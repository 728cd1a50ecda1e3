"""Everything there is to be read of an exception, as logs and error reporters read it."""

from __future__ import annotations

import io
import json
import logging
import pickle
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import httpx
import requests

import actas
from actas.embedded.demo.search import search

OURS = tuple(str(Path(actas.__file__).parents[1] / part) + "/" for part in ("actas", "worker", "scheduler"))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that stands behind it, also where ``from None`` asks not to show it."""
    if error is not None:
        yield error
        yield from chain(error.__cause__)
        yield from chain(error.__context__)


def faces(error: BaseException, *, given: object = None) -> Iterator[tuple[str, bytes]]:
    """What is to be read, by where it stands; but not in the frames of the tests, nor in those where ``given`` is."""
    for one in chain(error):
        yield "text", f"{one} {one!r} {one.args!r} {getattr(one, '__notes__', ())!r}".encode()
        yield "attributes", json.dumps(vars(one), default=repr).encode()
        yield "attributes", repr([_inside(value) for value in vars(one).values()]).encode()
        yield "pickle", pickle.dumps(one)
        yield "traceback", "".join(traceback.format_exception(one)).encode()
        for frame in _frames(one.__traceback__, given):
            yield "locals", repr(frame.tb_frame.f_locals).encode()
            yield "locals, walked through", b"\n".join(walked(frame.tb_frame.f_locals))
            told = traceback.TracebackException(type(one), one, frame, limit=1, capture_locals=True)
            yield "locals", "".join(told.format(chain=False)).encode()
    stream = io.StringIO()
    logger = logging.Logger("attack")  # noqa: LOG001 - nobody else is to hear it
    logger.addHandler(logging.StreamHandler(stream))
    logger.error("it failed: %s", error, exc_info=error)
    yield "log", stream.getvalue().encode()


def shown(error: BaseException, *secrets: str | bytes, given: object = None) -> set[str]:
    """In which of its faces an error shows one of these, in any form; empty is well."""
    return {finding.where for finding in search(secrets, faces(error, given=given))}


def walked(value: object, depth: int = 6) -> Iterator[bytes]:
    """What there is to be printed, by whoever walks through mappings and sequences, as Sentry and ``json`` do.

    Nobody is known to follow the attributes of whatever object they meet; such a one would see what SecretStr hides.
    """
    yield str(value).encode(errors="backslashreplace")
    yield repr(value).encode()
    if depth and isinstance(value, Mapping):
        for name, each in value.items():
            yield from walked(name, 0)
            yield from walked(each, depth - 1)
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        for each in value:
            yield from walked(each, depth - 1)


def _frames(frame: TracebackType | None, given: object) -> Iterator[TracebackType]:
    begun = False
    while frame is not None:
        begun |= frame.tb_frame.f_code.co_filename.startswith(OURS)
        held = given is not None and any(value is given for value in frame.tb_frame.f_locals.values())
        if begun and not held:
            yield frame
        frame = frame.tb_next


def _inside(value: object) -> object:
    """One level further: an error of a library has the request that failed."""
    if isinstance(value, httpx.Request):
        return [value.headers.raw, value.content]
    if isinstance(value, requests.PreparedRequest):
        return [value.headers, value.body]
    return value
