"""Actions on LinkedIn (versioned REST API)."""

from actas.actions.linkedin.posting import Post

__all__ = ["Post"]
