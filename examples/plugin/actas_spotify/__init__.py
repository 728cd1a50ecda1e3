"""Spotify for actas."""
