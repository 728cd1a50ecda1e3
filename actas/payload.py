"""What a job's payload is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Payload(BaseModel):
    """The base of every action's payload: unknown fields are refused, because they would be silently not done."""

    model_config = ConfigDict(extra="forbid", frozen=True)
