#!/bin/sh
# Makes what docker-compose.yml mounts: passwords that nobody has to know, and directories only their owner can read.
# May be run again: what is there stays as it is.
set -eu
umask 077
cd "$(dirname "$0")/.."

mkdir -p secrets/roles backup data
for service in redis mongodb1 mongodb2 mongodb3 vault prometheus grafana; do
  mkdir -p "data/$service"
done
for name in redis-admin mongodb-admin mongodb-key flower-admin grafana-admin; do
  if [ ! -s "secrets/$name" ]; then
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "secrets/$name"  # 256 bits, in characters that need no quoting
  fi
done
for directory in secrets backup data; do
  echo '*' > "$directory/.gitignore"
done

# All containers run as the owner of these files, because Compose mounts secrets with the owner they have here.
if [ "$(id -u)" -eq 0 ]; then
  owner=10001:10001
  chown -R "$owner" secrets backup data
else
  owner="$(id -u):$(id -g)"
fi
echo "RUN_AS=$owner" > .env
echo "ready: secrets/, data/, backup/ and .env, for user $owner"
