# HashiCorp Vault with storage of its own (raft). It starts sealed: docs/operations.md.

storage "raft" {
  path    = "/vault/data"
  node_id = "vault"
}

# No TLS: this listener is on Compose's internal network of this one host only, and published nowhere. Before anything
# on another host talks to it: tls_cert_file and tls_key_file here, https:// in ACTAS_VAULT_ADDR.
listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}

api_addr     = "http://vault:8200"
cluster_addr = "https://vault:8201"

# Raft maps its file into memory, which mlock does not go with (Vault's own advice); the container may not swap instead.
disable_mlock = true
ui            = false
