"""The Redis users of the roles (ACL), from the files under ``deploy/roles/redis``. Needs an administrator; rarely run.

Apps have no Redis user: what they do goes through MongoDB.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import SecretStr
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from actas.errors import ActasError, SettingsError, Unavailable
from actas.installing import addresses, role_files
from actas.redis_client import redis_client

ROLES = ("worker", "scheduler", "operator", "flower", "producer")

#: Key permissions (%R~) and selectors are of 7.0, which has no CLIENT SETINFO yet. Valkey calls itself 7.2 here.
_OLDEST = (7, 0)
_SETINFO, _SETINFO_SINCE = "+client|setinfo", (7, 2)

#: What of the installer's own address must not reach the roles': how *it* signs in.
_ITS_OWN = {"username", "password"}


class RedisRefused(ActasError):
    """Redis refused an operation."""

    code = "redis_refused"


class RedisInstaller:
    """An open, checked connection with the installer's user."""

    def __init__(self, url: SecretStr) -> None:
        """Connect and check.

        Raises:
            SettingsError: not an address, a wrong password, an old Redis, or one that lets anybody in.
            Unavailable: nobody answers.
        """
        self._url = url
        self._redis = redis_client(url, seconds=10, connect_seconds=5)
        try:
            self._check()
        except ActasError:
            self.close()
            raise

    def _check(self) -> None:
        with _translated("answer"):
            version = str(self._redis.info("server")["redis_version"])
            self._user = str(self._command("ACL WHOAMI"))
            default = self._command("ACL GETUSER", "default")
        major, minor, *_ = version.split(".")
        self._version = int(major), int(minor)
        if self._version < _OLDEST:
            raise SettingsError(f"this Redis is {version}, and its ACL cannot part the roles; use 7.0 or later")
        if self._user == "default" and "nopass" in default["flags"]:
            raise SettingsError(
                "this Redis lets anybody in as its administrator; give it a password (requirepass, or ACL SETUSER)"
            )

    def close(self) -> None:
        self._redis.close()

    def prepare(self) -> None:
        """Close the user ``default``, unless the installer itself signs in with it (it has a password, then).

        Raises:
            RedisRefused, Unavailable.
        """
        if self._user != "default":
            with _translated("close the user default"):
                self._command("ACL SETUSER", "default", "off")

    def user_url(self, role: str, kept: SecretStr | None) -> SecretStr:
        """Make sure there is a user ``actas-<role>`` and return its address, with the password of a ``kept`` address.

        Args:
            role: one of ROLES.
            kept: the address given out earlier, if it still is at hand; else a new password is made.

        Raises:
            RedisRefused, Unavailable.
        """
        password = (kept and addresses.password_in(kept)) or addresses.new_password()
        # The server is told the digest only: what it never had, it cannot show.
        digest = hashlib.sha256(password.get_secret_value().encode()).hexdigest()
        database = str(self._redis.connection_pool.connection_kwargs.get("db", 0))
        stated = rules(role_files.read("redis", f"{role}.acl", db=database))
        if self._version < _SETINFO_SINCE:
            stated.remove(_SETINFO)
        with _translated(f"make the user actas-{role}"):
            self._command("ACL SETUSER", f"actas-{role}", "reset", "on", f"#{digest}", *stated)
        return addresses.given_to(self._url, f"actas-{role}", password, without=_ITS_OWN)

    def keep(self) -> None:
        """Write the users to disk.

        Raises:
            SettingsError: this Redis keeps its users nowhere.
            RedisRefused, Unavailable.
        """
        with _translated("save its users"):
            for command in ("ACL SAVE", "CONFIG REWRITE"):  # an aclfile, or users in redis.conf
                try:
                    self._command(command)
                except NoPermissionError:
                    raise
                except ResponseError:
                    continue
                return
        raise SettingsError("this Redis would forget its users at a restart; start it with an aclfile, or a redis.conf")

    def _command(self, *words: str) -> Any:
        return self._redis.execute_command(*words)  # type: ignore[no-untyped-call]


def rules(text: str) -> list[str]:
    """Return the rules in a role file: words, or selectors in parentheses; lines that begin with # are comments."""
    stated = " ".join(line for line in text.splitlines() if not line.startswith("#"))
    return re.findall(r"\([^)]*\)|\S+", stated)


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Let only errors leave whose text we wrote: redis-py's may repeat addresses and commands."""
    try:
        yield
    except AuthenticationError:
        raise SettingsError("Redis does not accept user or password of the installer's ACTAS_REDIS_URL") from None
    except NoPermissionError:
        raise RedisRefused(f"the installer's Redis user may not {doing}; it needs +@all") from None
    except ResponseError:
        raise RedisRefused(f"Redis refused to {doing}") from None
    except RedisError:
        raise Unavailable("Redis does not answer") from None
