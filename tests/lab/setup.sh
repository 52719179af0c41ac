#!/bin/sh
# Install what the lab needs on a Debian machine: mmdebstrap, QEMU 10 or newer, and the disk tools.
#
# Does nothing when all of it is there.  Bookworm's own QEMU 7.2 crashes the emulated kernel, so
# on bookworm QEMU comes from the backports suite of the mirror that this machine already uses.
set -eu

qemu_minimum=10
packages='mmdebstrap dpkg-dev e2fsprogs fdisk openssh-client'
qemu_packages='qemu-system-x86 qemu-utils'
backports_list=/etc/apt/sources.list.d/cxlstate-lab-backports.list

fail() {
    echo "lab setup: $1" >&2
    exit 1
}

installed() {
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || return 1
    done
}

# The major version of the installed QEMU, or 0.
qemu_major() {
    version=$(qemu-system-x86_64 --version 2>/dev/null | sed -n 's/.*version \([0-9]*\)\..*/\1/p')
    echo "${version:-0}"
}

# The major version of QEMU that apt would install from "$@" (apt options), or 0.
qemu_candidate() {
    version=$(apt-cache "$@" policy qemu-system-x86 2>/dev/null |
        sed -n 's/^ *Candidate: *\([0-9]*:\)\{0,1\}\([0-9]*\)[.+].*/\2/p')
    echo "${version:-0}"
}

install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

# The mirror that serves this release here, whatever the form of the sources file.
mirror() {
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        sed -n "s/^$1 //p" | head -n 1
}

# shellcheck disable=SC2086  # the lists are meant to be split into words
if installed $packages $qemu_packages && [ "$(qemu_major)" -ge "$qemu_minimum" ]; then
    exit 0
fi
[ "$(id -u)" -eq 0 ] || fail 'packages are missing; run this as root: tests/lab/setup.sh'
command -v apt-get >/dev/null || fail "this needs Debian's apt; install by hand: $packages, QEMU >= $qemu_minimum"

# shellcheck disable=SC2086
installed $packages || install $packages
if [ "$(qemu_major)" -lt "$qemu_minimum" ]; then
    if [ "$(qemu_candidate)" -lt "$qemu_minimum" ]; then
        codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
        uri=$(mirror "$codename")
        [ -n "$uri" ] || fail "no apt source names $codename, so its backports cannot be found"
        echo "deb $uri $codename-backports main" >"$backports_list"
        apt-get update -q -o Dir::Etc::sourcelist="$backports_list" -o Dir::Etc::sourceparts=- \
            -o APT::Get::List-Cleanup=0
        suite="-t $codename-backports"
    fi
    # shellcheck disable=SC2086
    install ${suite:-} $qemu_packages
fi
[ "$(qemu_major)" -ge "$qemu_minimum" ] || fail "QEMU >= $qemu_minimum is needed, found $(qemu_major)"
