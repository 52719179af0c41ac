#!/bin/sh
# mmdebstrap hook, before the packages are installed.  Usage: prepare.sh ROOT
#
# Puts the tree rootfs/ in, so that the first initramfs is already the small one.
set -eu
umask 022
cp -r --no-preserve=all "$(dirname "$0")/rootfs/." "$1"
