"""Actions at Microsoft (Graph)."""

from actas.actions.microsoft.mail import SendMail

__all__ = ["SendMail"]
