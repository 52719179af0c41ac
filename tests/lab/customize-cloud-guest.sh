#!/bin/sh
# mmdebstrap hook of the guest that cloud-init makes: as the other guest is, but for what a cloud image has not.
# Usage: customize-cloud-guest.sh ROOT.  Reads CXLSTATE_LAB_SOURCE and what customize-guest.sh reads.
set -eu
umask 022
root=$1
"$CXLSTATE_LAB_SOURCE/customize-guest.sh" "$root"

# Nobody can log in, no network is set up, and nobody but cloud-init tells the host keys (the image's go).
chroot "$root" userdel --remove admin 2>/dev/null
rm -r "$root/root/.ssh" "$root/etc/sudoers.d/admin" "$root/etc/systemd/network/10-guest.network" \
    "$root/etc/systemd/system/serial-getty@ttyS0.service.d"
systemctl --root="$root" disable --quiet host-keys-on-console.service serial-getty@ttyS0.service
rm "$root/etc/systemd/system/host-keys-on-console.service"
echo localhost >"$root/etc/hostname"

# What no test looks at: locales are generated, GRUB's questions answered and apt set up for minutes.
cat >"$root/etc/cloud/cloud.cfg.d/90_lab.cfg" <<'END'
datasource_list: [NoCloud]
cloud_config_modules: [set_passwords, timezone, runcmd]
END
systemctl --root="$root" mask --quiet cloud-init-hotplugd.socket
chroot "$root" python3 -m compileall -q /usr/lib/python3 /usr/lib/python3.13 >/dev/null || :
