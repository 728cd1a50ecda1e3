"""The real servers and all of actas' processes on one machine, from wheels: for `actas up`, the demo and the tests.

No Docker and no root. Everything listens on loopback, keeps its data in one directory and dies with its supervisor.
This is for development: the root token and every password lie in that directory, readable by its owner.
"""

from actas.errors import ActasError


class EmbeddedError(ActasError):
    """The embedded stack cannot start."""

    code = "embedded"


class Interrupted(EmbeddedError):
    """The start was interrupted."""

    code = "interrupted"
