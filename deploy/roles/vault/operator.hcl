# Policy actas-operator, first part: what the operator may see. `actas apps add` appends operator-app.hcl for each app.

# Key versions and public keys. These prefixes also match transit/keys/<key>/rotate, /config and the like; none of those
# can be read.
path "transit/keys/actas-kek-*" {
  capabilities = ["read"]
}
path "transit/keys/actas-app-*" {
  capabilities = ["read"]
}
