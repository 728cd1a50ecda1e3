"""Installing actas: roles, keys, users, indexes. Rarely run, root-equivalent; no running process imports it."""
