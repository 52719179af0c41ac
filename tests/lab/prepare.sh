#!/bin/sh
# mmdebstrap hook, before the packages are installed.  Usage: prepare.sh TREE ROOT
#
# Puts a tree of files in, so that the first initramfs is already the small one.
set -eu
umask 022
cp -r --no-preserve=all "$1/." "$2"
