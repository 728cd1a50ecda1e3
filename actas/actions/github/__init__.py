"""Actions on GitHub (REST API)."""

from actas.actions.github.issues import Comment, CreateIssue

__all__ = ["Comment", "CreateIssue"]
