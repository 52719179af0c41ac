"""What is asked about devices in use: who holds them, can they be mapped, what is on them, how fast. Pure.

Shell functions for the script of `read_script`, and the words to call them with. All but the last need root,
and say so: what is hidden from a user must not look like nobody.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from cxlstate.core.read import DeviceRead, FileSystem, Holders, MapAndRead, TimeLoads
from cxlstate.formats import restore
from cxlstate.formats.sh import quote

# `openers` goes through the links of /proc/PID/fd and the last column of /proc/PID/maps: what is mapped
# may be closed. Processes that end meanwhile are no trouble; everything else that is complained of is.
#
# `unused`: every open file of a character device, and so every mapping of it, holds a reference to the
# module of its driver (cdev_get in fs/char_dev.c; `cdev->owner = dev->driver->owner` in
# drivers/dax/device.c), also while the device is unbound. What has no count is built in.
FUNCTIONS = r"""
as_root() {
    while read -r key real effective rest && [ "$key" != Uid: ]; do :; done </proc/self/status
    [ "$effective" = 0 ] || { echo 'Permission denied: only root can see it' >&2; return 1; }
}
openers() {
    { trouble=$({
        find /proc/[0-9]*/fd -maxdepth 1 -xtype c \( -lname "*/$1" -o -lname "*/$1 (deleted)" \) \
            -printf '%p:%l\n'
        grep -HoE "/$2( \(deleted\))?\$" /proc/[0-9]*/maps
    } 2>&1 >&5); } 5>&1
    ! printf '%s\n' "$trouble" | grep -v -e ': No such file or directory$' -e ': No such process$' -e '^$' >&2
}
unused() {
    for driver in "/sys/bus/$1/drivers"/*; do
        { read -r count <"$driver/module/refcnt"; } 2>/dev/null && [ "$count" = 0 ] || return 1
    done
}
held() {
    as_root || return 1
    [ -z "$3" ] || ! unused "$3" || return 0
    found=$(openers "$1" "$2") || return 1
    printf '%s\n' "$found" |
        sed -n -e 's/ (deleted)$//' -e 's,^/proc/\([0-9]*\)/.*/\([^/]*\)$,\1 \2,p' | sort -u |
        while read -r pid name; do
            case $name in $1) ;; *) continue ;; esac
            [ "$pid" -ne $$ ] || continue
            { command=$(tr '\000-\037\177' '[ *]' <"/proc/$pid/cmdline"); } 2>/dev/null || continue
            printf '%s\t%s\t%s\n' "$pid" "$name" "$command"
        done
}
begins() {
    for first in "$1/resource" "$1"/mapping*/start; do
        { read -r start <"$first"; } 2>/dev/null || continue
        case $start in 0x*[!0-9a-f]* | [!0]* | 0[!x]*) continue ;; esac
        [ $((start)) -ne "$2" ] || return 0
    done
    return 1
}
map_and_read() {
    as_root || return 1
    for device in /sys/bus/dax/devices/*; do
        begins "$device" "$1" && { read -r size <"$device/size"; } 2>/dev/null || continue
        [ "$size" -gt 0 ] || continue
        case $(readlink "$device/driver") in
            */device_dax) ;;
            *) echo "${device##*/} is not bound to device_dax" >&2; return 1 ;;
        esac
        command -v python3 >/dev/null || { echo 'python3 is not installed' >&2; return 127; }
        read -r align <"$device/align" || return 1
        timeout -k 5 30 python3 -ISB -c "$2" "/dev/${device##*/}" "$align" "$size"
        return
    done
    echo 'no dax device starts there' >&2
    return 1
}
tool() { command -v "$1" >/dev/null || { echo "$1" >&2; return 127; }; "$@"; }
file_system() {
    as_root || return 1
    number= type=
    while read -r _ _ device _ at rest; do
        [ "$at" = "$1" ] || continue
        number=$device rest=${rest#* - } type=${rest%% *}
    done </proc/self/mountinfo
    case $type in
        ext[234]) tool dumpe2fs -h "/dev/block/$number" ;;
        xfs) tool xfs_info "$1" ;;
        btrfs) tool btrfs filesystem show --raw "$1" ;;
        '') echo 'nothing is mounted there' >&2; return 1 ;;
        *) echo "it is of type $type" >&2; return 1 ;;
    esac
}
time_loads() {
    command -v python3 >/dev/null || { echo 'python3 is not installed' >&2; return 127; }
    ulimit -c 0
    python3 -ISB -c "$2" "$1" "$3"
    status=$?
    case $status in
        135) echo 'SIGBUS: it cannot be read (a memory error, or the device was unbound)' >&2 ;;
        137) echo 'SIGKILL: it was killed, as where memory is short' >&2 ;;
        142) echo 'it did not end within 30 s' >&2 ;;
    esac
    return "$status"
}
"""


def question(read: DeviceRead) -> str:
    """The function that answers it, and its words."""
    match read:
        case Holders(name=name, bus=bus):
            return f"held {quote(name)} {quote(_regex(name))} {quote(bus)}"
        case MapAndRead(start=start):
            return f"map_and_read {start} {quote(restore.map_and_read())}"
        case FileSystem(point=point):
            return f"file_system {quote(point)}"
        case TimeLoads(memory=memory):
            return f"time_loads {quote(memory)} {quote(_BEGIN)} {quote(time_loads())}"


# Ahead of a program that an older Python could not even read. The alarm leaves it in the process group of the
# script, so that it ends with that; timeout(1) would give it one of its own.
_BEGIN = """\
import signal, sys
signal.alarm(30)
if sys.version_info < (3, 8):
    sys.exit("python3 is %d.%d there, and has to be 3.8 or later" % sys.version_info[:2])
exec(sys.argv.pop())
"""


@cache
def time_loads() -> str:
    """The program: a module that is not imported but sent."""
    return files(__package__).joinpath("time_loads.py").read_text("utf-8")


_WILD = {"*": "[^/]*", "?": "[^/]"}


def _regex(pattern: str) -> str:
    """A shell pattern as an extended regular expression; ranges in brackets mean the same in both."""
    return "".join(
        part if part.startswith("[") else _WILD.get(part) or re.sub(r"([.+(){}|^$\\])", r"\\\1", part)
        for part in re.findall(r"\[[^]]+\]|[^[]", pattern)
    )
