"""Actions on X (API v2)."""

from actas.actions.x.engaging import DeletePost, Like, Repost
from actas.actions.x.media import UploadMedia
from actas.actions.x.posting import Post, Thread

__all__ = ["DeletePost", "Like", "Post", "Repost", "Thread", "UploadMedia"]
