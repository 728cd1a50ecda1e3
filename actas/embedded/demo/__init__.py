"""`actas demo`: the main job on real servers, and the proof that it was done as promised.

``plan`` is what is scheduled, ``story`` runs it, ``search`` and ``places`` look for tokens, ``verdict`` compares the
provider's ledger with the jobs. ``screen`` is what one sees.
"""
