"""A stored file, as a payload names it: the file itself would be too large for one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from actas.payload import Payload


class FileReference(Payload):
    """What a stored file is: nothing else has this digest, so what is signed is its content."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    #: In bytes.
    size: Annotated[int, Field(gt=0)]
    media_type: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}$")]
