#!/bin/sh
# What tests/system takes from Debian's packages: chromium and its driver are installed when missing; promtool is only
# unpacked, into the virtual environment, because installing its package would start a Prometheus.
set -eu

tools=${1:?where to unpack what is not installed}
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo

cannot() {
    echo "make test-system: $1; it needs chromium, chromedriver and promtool: put them on PATH, or run this on Debian, as root or with sudo" >&2
    exit 1
}

apt_get() {
    command -v apt-get >/dev/null || cannot "there is no apt-get here"
    [ -z "$as_root" ] || command -v sudo >/dev/null || cannot "there is no sudo here"
    [ -n "${updated:-}" ] || DEBIAN_FRONTEND=noninteractive $as_root apt-get -qq update || cannot "apt-get update failed"
    updated=yes
}

if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
    apt_get
    DEBIAN_FRONTEND=noninteractive $as_root apt-get -qq install -y --no-install-recommends chromium chromium-driver \
        >/dev/null || cannot "Debian's chromium could not be installed"
fi
if ! command -v promtool >/dev/null && ! [ -x "$tools/promtool" ]; then
    apt_get
    mkdir -p "$tools/deb"
    (cd "$tools/deb" && apt-get -qq download prometheus 2>/dev/null && dpkg -x prometheus_*.deb .) ||
        cannot "Debian's prometheus could not be unpacked"
    mv "$tools/deb/usr/bin/promtool" "$tools/promtool"
    rm -r "$tools/deb"
fi
