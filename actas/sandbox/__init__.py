"""A small provider with X's shapes, for the demo and the tests: it rotates, detects reuse, and misbehaves on demand.

Development only. All it knows is in memory; a restart forgets every account, grant and post.
"""
