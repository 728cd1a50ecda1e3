
# Policy actas-operator, for the app "{app}": rotate its keys and retire old versions; make its client keys.
#
# Whole paths for each app, because no pattern says it: + stands for a whole segment (it would reach everybody's keys in
# this mount), and a trailing * would reach all that lies below a key, such as OpenBao's soft-delete.

path "transit/keys/actas-kek-{app}/rotate" {
  capabilities = ["update"]
}
path "transit/keys/actas-app-{app}/rotate" {
  capabilities = ["update"]
}

# Of a key's settings, min_decryption_version only: not exportable, not allow_plaintext_backup, not deletion_allowed.
path "transit/keys/actas-kek-{app}/config" {
  capabilities       = ["update"]
  allowed_parameters = {
    "min_decryption_version" = []
  }
}
path "transit/keys/actas-app-{app}/config" {
  capabilities       = ["update"]
  allowed_parameters = {
    "min_decryption_version" = []
  }
}

# The keys with which the app proves itself at providers, one for each, by whatever name: make, rotate, retire, read. Here
# the * is needed, and the parameters keep it in bounds: no exporting, backing up, importing or trimming, and deleting is
# another verb. (What lies below a key and takes no parameters is allowed with it: OpenBao's soft-delete-restore, and a
# certificate request for the key as it is.)
path "transit/keys/actas-client-{app}.*" {
  capabilities       = ["read", "update"]
  allowed_parameters = {
    "type"                   = ["ecdsa-p256", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519"]
    "min_decryption_version" = []
  }
}
