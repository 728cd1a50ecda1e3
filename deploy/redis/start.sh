#!/bin/sh
# start.sh CONFIG: start Redis; at its first start, with the administrator as its only user. The file gets the digest of
# the password, and Redis itself adds the users that `actas init` makes.
set -eu
umask 077
directory=$(sed -n 's/^dir //p' "$1")
if [ ! -e "$directory/users.acl" ]; then
  digest=$(tr -d '\n' < /run/secrets/redis-admin | sha256sum | cut -d ' ' -f 1)
  printf 'user default off\nuser admin on #%s ~* &* +@all\n' "$digest" > "$directory/users.acl.part"
  mv "$directory/users.acl.part" "$directory/users.acl"
fi
exec redis-server "$1"
