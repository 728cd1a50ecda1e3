"""Actions on X (API v2)."""

from actas.actions.x.media import UploadMedia
from actas.actions.x.posting import Post, Thread

__all__ = ["Post", "Thread", "UploadMedia"]
