# Policy actas-scheduler: moves wrapped data keys to the newest KEK version without ever seeing one in clear; sends events.

path "transit/rewrap/actas-kek-*" {
  capabilities = ["update"]
}

# Key versions. This prefix also matches transit/keys/<key>/rotate, /config and the like; none of those can be read.
path "transit/keys/actas-kek-*" {
  capabilities = ["read"]
}

# Where apps want their events, and the secrets that these are signed with. No client credentials.
path "kv/data/actas/+/webhook" {
  capabilities = ["read"]
}
