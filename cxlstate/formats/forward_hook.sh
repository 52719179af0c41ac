#!/bin/sh
# Written by cxlstate. Edits are undone by the next apply.
# libvirt waits for this: it calls nothing of libvirt, ends soon, and never fails a network.
cat >/dev/null
case ${2-} in
    started | updated) timeout 20 sh /etc/cxlstate/forward gate >/dev/null 2>&1 ;;
esac
exit 0
