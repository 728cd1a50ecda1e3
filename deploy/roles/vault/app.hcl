# Policy actas-app-{app}: what the application "{app}" may do. One AppRole and one policy for each app.
#
# It can store a token and never read one back: no decrypt, no rewrap, no datakey. It speaks for itself only: every path
# names this app whole, because a trailing * would take in apps whose names begin alike ("a" and "a-b"). Client keys have a
# dot behind the app's name, which no app's name has.

# Wrap data keys under its own KEK. No "create": encrypting under a key that does not exist would make it.
path "transit/encrypt/actas-kek-{app}" {
  capabilities = ["update"]
}

# Sign jobs with its own key, and learn that key's newest version for the kid of a job.
path "transit/sign/actas-app-{app}" {
  capabilities = ["update"]
}
path "transit/keys/actas-app-{app}" {
  capabilities = ["read"]
}

# Prove to a provider that it is its client (private_key_jwt), with a key that never leaves Vault: actas-client-<app>.<provider>.
path "transit/sign/actas-client-{app}.*" {
  capabilities = ["update"]
}
path "transit/keys/actas-client-{app}.*" {
  capabilities = ["read"]
}

# Read its own client credentials, and its webhook's secret, with which it verifies events.
path "kv/data/actas/{app}/+" {
  capabilities = ["read"]
}
