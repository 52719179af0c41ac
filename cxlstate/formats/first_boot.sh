#!/bin/sh
# shellcheck shell=sh
# What virt-customize runs as root in the file systems of a guest that has never booted. All of this is
# constant; `formats/first_boot_script.py` puts calls of these verbs behind it, in quoted words. The first that
# fails ends it, and nothing of the disk is used then. Nothing secret is an argument of a program: `printf` is
# the shell's own.
#
# Programs are the guest's own, its /dev, /proc and /sys those of the appliance (guestfs_command(3)).
set -eu
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin
SYSTEMD_OFFLINE=1
export LC_ALL PATH SYSTEMD_OFFLINE
umask 022

refuse() {
    printf 'cxlstate: %s\n' "$*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# FILE MODE, its content on standard input.
put() {
    mkdir -p -- "${1%/*}"
    (umask 077 && cat >"$1")
    chmod "$2" -- "$1"
}

# What another machine of the same image has, too (machine-id(5)); and cloud-init, which would begin anew
# (doc/rtd/howto/disable_cloud_init.rst).
new_machine() {
    tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
    chmod 0444 /etc/machine-id
    [ ! -f /var/lib/dbus/machine-id ] || [ -L /var/lib/dbus/machine-id ] ||
        ln -sf /etc/machine-id /var/lib/dbus/machine-id
    [ ! -d /etc/cloud ] || : >/etc/cloud/cloud-init.disabled
}

# NAME: as cloud-init's `manage_etc_hosts: localhost`.
call_it() {
    printf '%s\n' "$1" >/etc/hostname
    short=${1%%.*}
    [ "$short" != "$1" ] || short=
    { ! [ -f /etc/hosts ] || grep -v '^127\.0\.1\.1[[:space:]]' /etc/hosts || :; } >/etc/.hosts.cxlstate
    printf '127.0.1.1 %s\n' "$1${short:+ $short}" >>/etc/.hosts.cxlstate
    cat /etc/.hosts.cxlstate >/etc/hosts
    rm /etc/.hosts.cxlstate
}

known() { cut -d: -f1 "$1" | grep -qxF -e "$2"; }
home_of() {
    while IFS=: read -r user _ _ _ _ home _; do
        [ "$user" != "$1" ] || printf %s "$home"
    done </etc/passwd
}

# NAME SHELL SUDO HASH KEYS [GROUP…]: empty words leave it to the image. A new user without a hash has `!`, and
# cannot log in with a password (useradd(8)); one who has a password already keeps it.
account() {
    name=$1 shell=$2 sudo=$3 hash=$4 keys=$5
    shift 5
    if known /etc/passwd "$name"; then
        [ -z "$shell" ] || usermod --shell "$shell" -- "$name"
    elif known /etc/group "$name"; then
        useradd --create-home ${shell:+--shell "$shell"} --gid "$name" -- "$name"
    else
        useradd --create-home ${shell:+--shell "$shell"} --user-group -- "$name"
    fi
    for group; do
        known /etc/group "$group" || groupadd -- "$group"
        usermod --append --groups "$group" -- "$name"
    done
    [ -z "$keys" ] || let_in "$name" "$keys"
    [ -z "$sudo" ] || may_be_root "$name"
    [ -z "$hash" ] || printf '%s:%s\n' "$name" "$hash" | chpasswd --encrypted
}

# NAME KEYS, a line each.
let_in() {
    home=$(home_of "$1")
    [ -d "$home" ] || refuse "$1 has no home: $home"
    file=$home/.ssh/authorized_keys
    (umask 077 && mkdir -p -- "$home/.ssh" && : >>"$file")
    [ -z "$(tail -c 1 -- "$file")" ] || echo >>"$file"
    printf '%s\n' "$2" | while IFS= read -r key; do
        grep -qxF -e "$key" -- "$file" || printf '%s\n' "$key" >>"$file"
    done
    chmod 0700 -- "$home/.ssh"
    chmod 0600 -- "$file"
    chown -R -- "$1:" "$home/.ssh"
}

# NAME: sudoers(5), as cloud-init writes it for the user of an image.
may_be_root() {
    has sudo || refuse "$1 is to have sudo, and the image has none"
    file=/etc/sudoers.d/90-cxlstate-provision
    mkdir -p /etc/sudoers.d
    printf '%s ALL=(ALL) NOPASSWD:ALL\n' "$1" >>"$file"
    chmod 0440 "$file"
    visudo -cqf "$file" || refuse "sudo takes no user called $1"
}

# yes|no MAC…: by what the image has. The first file that fits an interface counts, to networkd and netplan, whose
# files are named by their ids (systemd.network(5), netplan(5)): these come before those of the image.
network() {
    dhcp4=$1
    shift
    if has netplan; then
        of_netplan "$@" | put /etc/netplan/00-cxlstate.yaml 0600
    elif has NetworkManager; then
        for mac; do
            of_network_manager | put "/etc/NetworkManager/system-connections/cxlstate-$(bare).nmconnection" 0600
        done
    elif [ -x /lib/systemd/systemd-networkd ] || [ -x /usr/lib/systemd/systemd-networkd ]; then
        for mac; do
            printf '[Match]\nMACAddress=%s\n\n[Network]\nDHCP=%s\n' "$mac" "$(answer ipv4 no)" |
                put "/etc/systemd/network/00-cxlstate-$(bare).network" 0644
        done
        systemctl enable systemd-networkd.service
    else
        refuse 'the image has neither netplan nor NetworkManager nor systemd-networkd: nothing to tell the network to'
    fi
}
bare() { printf %s "$mac" | tr -d :; }
answer() { if [ "$dhcp4" = yes ]; then echo "$1"; else echo "$2"; fi; }
of_netplan() {
    printf 'network:\n  version: 2\n  ethernets:\n'
    for mac; do
        printf '    00-cxlstate-%s:\n      match: {macaddress: "%s"}\n      dhcp4: %s\n' \
            "$(bare)" "$mac" "$(answer true false)"
    done
}
of_network_manager() {
    printf '[connection]\nid=cxlstate-%s\ntype=ethernet\nautoconnect-priority=10\n\n' "$(bare)"
    printf '[ethernet]\nmac-address=%s\n\n[ipv4]\nmethod=%s\n' "$mac" "$(answer auto disabled)"
}

# no|prohibit-password [USER…]: host keys made anew; no passwords; what root may. Before what images and installers
# have (50-cloud-init.conf, Anaconda's 01-permitrootlogin.conf), and behind 00-cxlstate.conf of the guest's `sshd`.
server() {
    has sshd || return 0
    root=$1
    shift
    rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
    ssh-keygen -A
    settings="PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin $root"
    if grep -Eiq '^[[:space:]]*Include[[:space:]].*/etc/ssh/sshd_config\.d/\*\.conf' /etc/ssh/sshd_config; then
        printf '%s\n' "$settings" | put /etc/ssh/sshd_config.d/01-cxlstate-provision.conf 0600
    else
        { printf '%s\n' "$settings" && cat /etc/ssh/sshd_config; } >/etc/ssh/.sshd_config.cxlstate
        cat /etc/ssh/.sshd_config.cxlstate >/etc/ssh/sshd_config
        rm /etc/ssh/.sshd_config.cxlstate
    fi
    mkdir -p /run/sshd
    for user in root "$@"; do
        sshd -T -C "user=$user,host=guest,addr=192.0.2.1" >/run/sshd/said
        ! grep -Eqx '(password|kbdinteractive|challengeresponse)authentication yes' /run/sshd/said ||
            refuse "sshd of the image would take a password from $user: see its sshd_config for a Match"
    done
    rm /run/sshd/said
    rmdir /run/sshd 2>/dev/null || :  # it may be the image's own
}

# INSTANCE: last of all. What is read from the disk then says that it is whole, and by what it is known.
tell() {
    (umask 077 && mkdir -p /var/lib/cxlstate)
    {
        printf '%s\n' "$1"
        ! has sshd || cat /etc/ssh/ssh_host_*_key.pub
    } | put /var/lib/cxlstate/provisioned 0644
}

