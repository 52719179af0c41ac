#!/bin/sh
# mmdebstrap hook, after the packages are installed: users, GRUB, units, the package archive.
# Usage: customize.sh ROOT.  Reads CXLSTATE_LAB_KEY, the file with the public SSH key to let in.
set -eu
umask 022
root=$1

# users ----------------------------------------------------------------------------------------

# let_in NAME HOME: allow the lab's key to log in as NAME.
let_in() {
    install -D -m 600 "$CXLSTATE_LAB_KEY" "$root$2/.ssh/authorized_keys"
    chroot "$root" chown -R "$1:" "$2/.ssh"
    chmod 700 "$root$2/.ssh"
}

let_in root /root
for name in admin reader; do
    chroot "$root" useradd --create-home --shell /bin/bash "$name"
    let_in "$name" "/home/$name"
done
chmod 440 "$root/etc/sudoers.d/admin"

# GRUB -----------------------------------------------------------------------------------------

sed -i 's/^GRUB_TIMEOUT=.*/# No menu: nobody sits at this console.  Asked for by the operators.\nGRUB_TIMEOUT=0/' \
    "$root/etc/default/grub"

# initial file system --------------------------------------------------------------------------

chmod 755 "$root/etc/initramfs-tools/hooks/lab" # cp left the modes behind
chroot "$root" update-initramfs -u

# units ----------------------------------------------------------------------------------------

systemctl --root="$root" enable --quiet systemd-networkd.service
# Started by their sockets when a guest needs them, or watching devices that are not here.
systemctl --root="$root" disable --quiet virtlogd.service cxl-monitor.service ndctl-monitor.service
# Things no test looks at, each of which costs a boot under emulation up to a second, or more.
systemctl --root="$root" mask --quiet \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer logrotate.timer man-db.timer cron.service \
    systemd-networkd-wait-online.service systemd-networkd-persistent-storage.service \
    systemd-network-generator.service systemd-udev-load-credentials.service \
    networking.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
    modprobe@drm.service modprobe@efi_pstore.service grub-common.service sshd-keygen.service \
    systemd-random-seed.service systemd-pstore.service systemd-update-utmp.service \
    systemd-fsck-root.service systemd-journal-flush.service systemd-journal-catalog-update.service \
    systemd-hwdb-update.service systemd-update-done.service systemd-sysusers.service ldconfig.service \
    systemd-hibernate-clear.service systemd-tpm2-setup.service systemd-tpm2-setup-early.service \
    systemd-ask-password-wall.path systemd-ask-password-console.path systemd-tmpfiles-clean.timer \
    sys-kernel-config.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount dev-mqueue.mount \
    getty@tty1.service serial-getty@ttyS0.service user@.service
mkdir -p "$root/etc/systemd/system-generators"
ln -s /dev/null "$root/etc/systemd/system-generators/systemd-ssh-generator"

# AppArmor -------------------------------------------------------------------------------------

# libvirt's profiles alone: every other one costs each boot a load, and confines nothing that is here.
find "$root/etc/apparmor.d" -maxdepth 1 -type f ! -name 'usr.*libvirt*' -delete

# the package archive: what a test may install, none of it installed ----------------------------

archive=$root/srv/apt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$archive/partial"

# Real ones, with whatever they need that is not there yet.
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -q -y -o Dir::Cache::Archives="$archive" \
    --download-only install hello tree figlet cowsay
rm -rf "$archive/partial" "$archive/lock"

# package NAME VERSION [FIELD…]: a package with one file and the extra control fields.
package() {
    name=$1 version=$2
    tree=$work/$name
    shift 2
    install -D -m 644 /dev/null "$tree/usr/share/$name/$version"
    mkdir -p "$tree/DEBIAN"
    {
        printf 'Package: %s\nVersion: %s\nArchitecture: all\n' "$name" "$version"
        printf 'Maintainer: nobody <nobody@localhost>\nDescription: %s, to be installed by a test\n' "$name"
        [ $# -eq 0 ] || printf '%s\n' "$@"
    } >"$tree/DEBIAN/control"
    if [ "$name" = cxlstate-broken ]; then
        printf '#!/bin/sh\necho "cxlstate-broken: this always fails" >&2\nexit 1\n' >"$tree/DEBIAN/postinst"
        chmod 755 "$tree/DEBIAN/postinst"
    fi
    dpkg-deb --build --root-owner-group "$tree" "$archive/${name}_${version}_all.deb" >/dev/null
    rm -rf "$tree"
}

package cxlstate-demo 1.0
package cxlstate-demo 2.0
package cxlstate-broken 1.0
package cxlstate-provider-a 1.0 'Provides: cxlstate-virtual' 'Conflicts: cxlstate-virtual'
package cxlstate-provider-b 1.0 'Provides: cxlstate-virtual' 'Conflicts: cxlstate-virtual'

(cd "$archive" && dpkg-scanpackages --multiversion . >Packages 2>/dev/null)
rm -rf "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists/*
echo 'deb [trusted=yes lang=none] file:/srv/apt ./' >"$root/etc/apt/sources.list"
chroot "$root" apt-get -q update
