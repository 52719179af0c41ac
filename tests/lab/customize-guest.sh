#!/bin/sh
# mmdebstrap hook of the guest, after its packages are installed: who may log in, what may be installed, and
# a short boot.
# Usage: customize-guest.sh ROOT.  Reads CXLSTATE_LAB_KEY, the file with the public SSH key to let in.
set -eu
umask 022
root=$1

let_in() {
    install -D -m 600 "$CXLSTATE_LAB_KEY" "$root$2/.ssh/authorized_keys"
    chroot "$root" chown -R "$1:" "$2/.ssh"
    chmod 700 "$root$2/.ssh"
}
let_in root /root
chroot "$root" useradd --create-home --shell /bin/bash admin # with sudo; root over the guest agent
let_in admin /home/admin
chmod 440 "$root/etc/sudoers.d/admin"

systemctl --root="$root" enable --quiet systemd-networkd.service serial-getty@ttyS0.service \
    host-keys-on-console.service
# What no test looks at: each costs a nested boot a second or more.
systemctl --root="$root" mask --quiet \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer systemd-tmpfiles-clean.timer \
    systemd-networkd-wait-online.service systemd-networkd-persistent-storage.service \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-logind.service \
    modprobe@.service kmod-static-nodes.service systemd-modules-load.service systemd-sysctl.service \
    sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
    dev-hugepages.mount dev-mqueue.mount tmp.mount run-lock.mount grub-common.service \
    systemd-random-seed.service systemd-pstore.service systemd-update-utmp.service systemd-fsck-root.service \
    systemd-update-done.service systemd-sysusers.service systemd-hwdb-update.service ldconfig.service \
    systemd-journal-flush.service systemd-journal-catalog-update.service systemd-hibernate-clear.service \
    systemd-tpm2-setup.service systemd-tpm2-setup-early.service systemd-tmpfiles-setup-dev-early.service \
    systemd-tmpfiles-setup-dev.service systemd-ask-password-wall.path systemd-ask-password-console.path \
    getty@tty1.service user@.service ndctl-monitor.service
mkdir -p "$root/etc/systemd/system-generators"
ln -s /dev/null "$root/etc/systemd/system-generators/systemd-ssh-generator"

# What grub-install and update-grub would make, without a boot: guest_image.py puts it before the partition.
install -d "$root/boot/grub/i386-pc"
cp -r "$root/usr/lib/grub/i386-pc/." "$root/boot/grub/i386-pc"
chroot "$root" grub-mkimage --format=i386-pc --output=/boot/grub/i386-pc/core.img \
    --prefix='(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2
(
    . "$root/etc/default/grub.d/50-guest.cfg"
    arguments="root=/dev/vda1 $GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"
    printf 'linux /vmlinuz %s\ninitrd /initrd.img\nboot\n' "$arguments" >"$root/boot/grub/grub.cfg"
)

# What a test may install, none of it installed: a source of its own, since nothing leads out of here.
archive=$root/srv/apt
mkdir -p "$archive/partial"
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -q -y -o Dir::Cache::Archives="$archive" \
    --download-only install hello tree
rm -rf "$archive/partial" "$archive/lock"
(cd "$archive" && dpkg-scanpackages --multiversion . >Packages 2>/dev/null)
rm -rf "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists/*
echo 'deb [trusted=yes lang=none] file:/srv/apt ./' >"$root/etc/apt/sources.list"
chroot "$root" apt-get -q update

rm -rf "$root"/var/cache/apt/*.bin "$root"/usr/share/doc/* "$root"/usr/share/locale/*
