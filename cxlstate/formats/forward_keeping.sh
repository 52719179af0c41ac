#!/bin/sh
# Written by cxlstate. Edits are undone by the next apply.
#
# Keeps port forwards in force: `load` their table, and put the rule that lets them through (the gate) ahead of
# what refuses them, in each filter that is in use: `gate`. Run by cxlstate-forward.service, by libvirt's hook,
# and by an apply. Nothing of a spec is in it, and nothing of libvirt's is called but by `boot`.
#
# Files of the kernel stand below $root, which is empty on a machine, and nothing but `tell` writes to them, so
# that the simulator can answer in its place.

LC_ALL=C
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL PATH
root=

table=/etc/cxlstate/forwards.nft
mark=0x08000000

tell() { echo "$1" >"$2"; }
forwarding() { tell 1 "$root/proc/sys/net/ipv4/ip_forward"; }
load() { nft -f "$table"; }

# The filter of a variant of iptables; to ask iptables-legacy for a table would make it.
in_use() {
    case $1 in
        iptables-nft) nft list chain ip filter FORWARD >/dev/null 2>&1 ;;
        iptables-legacy) grep -qsx filter "$root/proc/net/ip_tables_names" ;;
        libvirt) nft list chain ip libvirt_network forward >/dev/null 2>&1 ;;
    esac
}

# VARIANT [on]: ours go, wherever they are, and one comes first, in one transaction.
iptables_gate() {
    {
        echo '*filter'
        "$1-save" -t filter | sed -n 's/^-A \(FORWARD .*--comment "*cxlstate"* .*\)$/-D \1/p'
        [ -z "$2" ] ||
            echo "-I FORWARD 1 -m connmark --mark $mark/$mark -m comment --comment cxlstate -j ACCEPT"
        echo COMMIT
    } | "$1-restore" --noflush --wait 5
}

libvirt_gate() {
    {
        nft -a list chain ip libvirt_network forward |
            sed -n 's/.* comment "cxlstate" # handle \([0-9]*\)$/delete rule ip libvirt_network forward handle \1/p'
        [ -z "$1" ] ||
            echo "insert rule ip libvirt_network forward ct mark and $mark == $mark counter accept comment \"cxlstate\""
    } | nft -f -
}

gates() {
    failed=
    for variant in iptables-nft iptables-legacy; do
        ! in_use "$variant" || iptables_gate "$variant" "$1" || failed=yes
    done
    ! in_use libvirt || libvirt_gate "$1" || failed=yes
    [ -z "$failed" ]
}

gate() { gates on; }
ungate() { gates ''; }
unload() { ! nft list table inet cxlstate >/dev/null 2>&1 || nft delete table inet cxlstate; }

# systemd is told that libvirtd is ready before its networks are there; an answer says that they are.
await_libvirt() {
    for daemon in libvirtd virtnetworkd; do
        ! systemctl is-active --quiet "$daemon.service" ||
            timeout -k 5 30 virsh --connect network:///system net-list >/dev/null 2>&1
    done
}

boot() {
    forwarding && load || return 1
    await_libvirt
    gate
}

main() {
    case ${1-} in
        forwarding | load | unload | gate | ungate | boot) "$1" ;;
        *)
            echo "cxlstate: not a verb: ${1-}" >&2
            return 64
            ;;
    esac
}

main "$@"
