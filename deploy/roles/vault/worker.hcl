# Policy actas-worker: the only role that unwraps data keys. It cannot sign jobs, rewrap, rotate or make keys.

# Unwrap and wrap data keys. No "create", as for apps. Key names hold no slash, so these reach no further path.
path "transit/decrypt/actas-kek-*" {
  capabilities = ["update"]
}
path "transit/encrypt/actas-kek-*" {
  capabilities = ["update"]
}

# Public keys, to verify the signatures of jobs. This prefix also matches transit/keys/<key>/rotate, /config and the like;
# none of those can be read.
path "transit/keys/actas-app-*" {
  capabilities = ["read"]
}

# Prove to providers whose client it acts for. No job is signed with such a key: those are signed with actas-app-<app>.
path "transit/sign/actas-client-*" {
  capabilities = ["update"]
}
path "transit/keys/actas-client-*" {
  capabilities = ["read"]
}

# Client credentials of all apps at all providers: kv/actas/<app>/<provider>.
path "kv/data/actas/+/+" {
  capabilities = ["read"]
}

# Events are signed by the scheduler alone. The more exact path counts.
path "kv/data/actas/+/webhook" {
  capabilities = ["deny"]
}
