#!/bin/sh
# mmdebstrap hook of the guest, after its packages are installed: who may log in, and a short boot.
# Usage: customize-guest.sh ROOT.  Reads CXLSTATE_LAB_KEY, the file with the public SSH key to let in.
set -eu
umask 022
root=$1

install -D -m 600 "$CXLSTATE_LAB_KEY" "$root/root/.ssh/authorized_keys"
chmod 700 "$root/root/.ssh"

systemctl --root="$root" enable --quiet systemd-networkd.service serial-getty@ttyS0.service
# What no test looks at: each costs a nested boot a second or more.
systemctl --root="$root" mask --quiet \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer systemd-tmpfiles-clean.timer \
    systemd-networkd-wait-online.service systemd-networkd-persistent-storage.service \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-logind.service \
    modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service modprobe@configfs.service \
    sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
    dev-hugepages.mount dev-mqueue.mount tmp.mount systemd-random-seed.service grub-common.service \
    systemd-pstore.service systemd-update-utmp.service getty@tty1.service user@.service \
    ndctl-monitor.service daxdev-reconfigure@.service
mkdir -p "$root/etc/systemd/system-generators"
ln -s /dev/null "$root/etc/systemd/system-generators/systemd-ssh-generator"

rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/usr/share/doc/* "$root"/usr/share/locale/*
