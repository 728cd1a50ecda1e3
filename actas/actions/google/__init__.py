"""Actions at Google: Calendar and Gmail."""

from actas.actions.google.calendar import CreateEvent
from actas.actions.google.gmail import Send

__all__ = ["CreateEvent", "Send"]
