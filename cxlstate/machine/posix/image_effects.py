"""Effects on disk images to scripts, for `effects.script`. Pure.

An image takes its place whole, and only where there is nothing; a draft of one that was stopped is cleared
away as that of any file (`effects.FILES`). Half a download is no draft: it stays, and is gone on with.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from cxlstate.core.image import FetchFile, GrowImage, MakeImage, PermitImage, RemoveImage
from cxlstate.machine.outcome import Entry
from cxlstate.machine.posix.effects import FILES, script

PATIENCE = 24 * 3600
"""Seconds for one effect. What stalls is given up long before, on the machine."""

_PLAIN_URL = re.compile(r"https?://[!#-\[\]-~]+")  # it stands in quotes in curl's configuration

# The URL goes over standard input: others on the machine can see arguments. `transfer` goes on for as
# long as a broken transfer got further; 23 and 33 are curl(1)'s for what cannot be written, and what
# cannot be gone on with: the server has no ranges, or less than is here.
_FETCH = r"""
got() { if [ -f "$part" ]; then wc -c <"$part"; else echo 0; fi; }
with_curl() {
    code=$(printf 'url = "%s"\n' "$url" |
        curl -q --config - --globoff --fail --silent --show-error --location --max-redirs 10 \
            --proto "=$schemes" --proto-redir "=$schemes" --connect-timeout "$stall" \
            --speed-limit 1 --speed-time "$stall" --continue-at - --output "$part" \
            --write-out '%{http_code}')
    status=$?
    [ "$code" != 416 ] || return 33
    return $status
}
with_python3() { printf %s "$url" | python3 -ISB -c "$program" "$part" "$stall"; }
# wget follows to any scheme, so that it may not follow at all; in what it says, the URL is left out.
with_wget() {
    printf '%s\n' "$url" |
        wget --no-config --no-verbose --tries=1 --timeout="$stall" --max-redirect=0 --continue \
            --output-document="$part" --input-file=- 2>"$tmp/wget" && return
    status=$?
    grep -v '://' "$tmp/wget" >&2
    case $status in 3) return 23 ;; *) return $status ;; esac
}
transfer() {
    for tool in curl python3 wget ''; do
        [ -n "$tool" ] || fail 'neither curl nor python3 nor wget is installed; one of them is needed'
        ! command -v "$tool" >/dev/null || break
    done
    while :; do
        had=$(got)
        "with_$tool" >>"$said" && return
        status=$?
        case $status in
            23) rm -f -- "$part"; fail "no room for it in $folder; what had come of it was removed" ;;
            33) [ "$had" -gt 0 ] && rm -f -- "$part" && begun=0 && continue ;;
        esac
        [ $status -lt 128 ] && [ "$(got)" -gt $((had + 1048576)) ] || break
    done
    fail "$shown did not come whole ($tool: status $status); $(got) bytes are kept for the next time"
}
whole() { [ -f "$part" ] && found=$(sha256sum <"$part") && found=${found%% *} && [ "$found" = "$sha256" ]; }
place() { sync -- "$part" && mv -T -- "$part" "$path" && sync -- "$folder" || fail; finish done 0; }

begin
[ ! -f "$path" ] || finish done 0
folder=${path%/*}; part=$path.part
mkdir -p -- "$folder" && sync -f -- "$folder" || fail
begun=$(got)
! whole || place
while :; do
    transfer
    ! whole || place
    rm -f -- "$part"
    # What was gone on with may have been of another file, or torn by a power cut.
    [ "$begun" -gt 0 ] || fail "$shown has SHA-256 $found, expected $sha256; it was removed"
    begun=0
done
"""

# `look` FILE [FORMAT]: what qemu-img sees in it. Its JSON is one line a value, those of the image itself
# four blanks in (`qobject_to_json_pretty`); a text cannot look like one, since quotes in it are escaped.
LOOK = r"""
command -v qemu-img >/dev/null || fail 'qemu-img is not installed (package qemu-utils)'
look() {
    seen=$(qemu-img info --output=json -U ${2:+-f "$2"} "$1") || fail
    seen_format=$(printf '%s\n' "$seen" | sed -n 's/^    "format": "\([a-z0-9_-]*\)",\{0,1\}$/\1/p')
    seen_size=$(printf '%s\n' "$seen" | sed -n 's/^    "virtual-size": \([0-9]*\),\{0,1\}$/\1/p')
    [ -n "$seen_format" ] && [ -n "$seen_size" ] || fail "it cannot be told what $1 is: $seen"
}
"""

# `walk` PATH → `target` (links followed), `folder`, `new`, as `resolve`. Each folder on the way has to be
# root's alone (or ours, where we are not root): who else may write to one could put a link there between
# two of our steps, which qemu-img, chown and chmod follow. In a sticky folder nobody can move what is
# root's (inode(7)). What is not there yet is made by root, in a folder of root's.
WALK = r"""
exposed() {
    fail "users other than root can replace files in $1 (owner $(stat -c '%U:%G, mode %a' -- "$1")): \
choose a path in folders that only root can write to, such as /var/lib/libvirt/images"
}
alone() {
    set -- "${1:-/}" "$2" $(stat -c '%u %g %a' -- "${1:-/}")
    [ $# -eq 5 ] || fail "$1 cannot be looked at"
    case $3 in 0 | "$me") ;; *) exposed "$1" ;; esac
    open=$((0$5 & 022))
    [ "$4" -ne 0 ] || open=$((open & 02))
    [ $open -ne 0 ] || return 0
    [ $((0$5 & 01000)) -ne 0 ] || exposed "$1"
    case $(stat -c %u -- "${1%/}/$2" 2>/dev/null) in 0 | "$me") ;; *) exposed "$1" ;; esac
}
walk() {
    me=$(id -u) at='' rest=${1#/} links=0 there=/
    while [ -n "$rest" ]; do
        step=${rest%%/*}
        case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
        case $step in '' | .) continue ;; ..) at=${at%/*}; continue ;; esac
        if [ -d "${at:-/}" ]; then there=${at:-/}; alone "$at" "$step"; fi
        if [ -L "$at/$step" ]; then
            links=$((links + 1))
            [ $links -le 40 ] || fail "$1: too many levels of symbolic links"
            to=$(readlink -n -- "$at/$step"; echo x); to=${to%x}
            case $to in /*) at= ;; esac
            rest=${to#/}${rest:+/$rest}
        else
            at=$at/$step
        fi
    done
    target=$at; folder=${target%/*}; folder=${folder:-/}
    new=${folder%/}/.${target##*/}.cxlstate
}
"""

# A source that is named by its SHA-256 must not have QEMU open other files. A base in our closed folder
# is to be read by the user that QEMU runs as, who must know its name for it: nobody can list them.
_MAKE = r"""
needs_others() {
    ! printf '%s\n' "$seen" | grep -qE '^ +"(full-)?(backing-filename|data-file)":' || return 0
    [ "$seen_format" = vmdk ] || return 1
    ! printf '%s\n' "$seen" | grep -qE '^ +"create-type": "(monolithicSparse|streamOptimized)"'
}
check_source() {
    [ -f "$source" ] || fail "$source is not there, or not a regular file"
    if [ -n "$sha256" ]; then
        found=$(sha256sum <"$source") && found=${found%% *} || fail
        [ "$found" = "$sha256" ] || fail "$source has SHA-256 $found, expected $sha256"
    fi
    look "$source" "$from"
    from=$seen_format
    if [ -n "$sha256" ] && needs_others; then
        fail "$source needs other files, of which its SHA-256 says nothing"
    fi
    [ -z "$size" ] || [ "$seen_size" -le "$size" ] ||
        fail "$source holds a disk of $seen_size bytes, more than the $size that are asked for"
}
lend() {
    case $source in
        "$state"/*) chmod go+x -- "$state" "${source%/*}" && chmod go+r -- "$source" || fail ;;
    esac
}
# A hard link is refused where there is something, whoever was quicker. Not every file system has them.
place() {
    if ln -T -- "$new" "$target" 2>/dev/null; then
        rm -f -- "$new"
    else
        [ ! -e "$target" ] || finish stale 0
        mv -nT -- "$new" "$target" || fail
        [ ! -e "$new" ] || finish stale 0
    fi
    sync -- "$folder" || fail
}

begin
walk "$path"
# In coreutils' names (human_fstype in stat.c); devtmpfs is tmpfs to it.
kept=$(stat -f -c %T -- "$there") || fail
case $kept in
    tmpfs | ramfs | hugetlbfs | proc | sysfs | devpts | debugfs | cgroup*)
        fail "an image in $folder would be lost at the next boot: $there is in memory ($kept)" ;;
esac
[ ! -e "$target" ] || finish stale 0
[ -z "$source" ] || check_source
announce
if [ -z "$source" ]; then
    qemu-img create -q -f "$format" "$new" "$size"
elif [ -n "$overlay" ]; then
    lend
    qemu-img create -q -f "$format" -b "$source" -F "$from" "$new" ${size:+"$size"}
else
    qemu-img convert -q -f "$from" -O "$format" "$source" "$new"
fi >>"$said" || fail
if [ -n "$size" ]; then
    look "$new" "$format"
    [ "$seen_size" -ge "$size" ] || qemu-img resize -q -f "$format" "$new" "$size" >>"$said" || fail
fi
[ -z "$whose" ] || chown -- "$whose" "$new" || fail
[ -z "$mode" ] || chmod -- "$mode" "$new" || fail
sync -- "$new" || fail
place
finish done 0
"""

# What a guest has open is locked (qemu-img says so); then it is the guest's QEMU that has to grow it.
# libvirt would make a disk smaller without a word: that it is not larger was looked at before.
_GROW = r"""
virsh_() { virsh --connect qemu:///system --quiet "$@" </dev/null; }
guest() {
    command -v virsh >/dev/null || fail "$path is in use, and there is no virsh to tell by whom"
    real=$(readlink -f -- "$path")
    virsh_ list --name >"$tmp/domains" || fail
    while IFS= read -r domain; do
        [ -n "$domain" ] && virsh_ domblklist --domain "$domain" >"$tmp/disks" || continue
        while read -r disk file; do
            [ -n "$file" ] && [ "$(readlink -f -- "$file")" = "$real" ] || continue
            virsh_ blockresize --domain "$domain" --path "$disk" --size "${size}B" >>"$said" || fail
            finish done 0
        done <"$tmp/disks"
    done <"$tmp/domains"
    fail "$path is in use, and no running guest has it as a disk"
}

begin
walk "$path"
look "$target" "$format"
[ "$seen_size" -lt "$size" ] || finish done 0
refusal=$(qemu-img resize -q -f "$format" "$target" "$size" 2>&1) && { sync -- "$target"; finish done 0; }
case $refusal in
    *'Failed to get "'*'" lock'*) guest ;;
    *) fail "$refusal" ;;
esac
"""

# Also who only reads, as a guest does from a backing file, has it open.
_REMOVE = r"""
begin
[ -e "$path" ] || finish done 0
name=${path##*/}
walk "${path%/*}"
alone "$target" "$name"
found=$(stat --dereference --format=%d:%i -- "$path") || fail
[ "$found" = "$identity" ] || finish stale 0
command -v find >/dev/null || fail 'it cannot be told whether it is in use: there is no find (findutils)'
holder=$(find -L /proc/[0-9]*/fd -maxdepth 1 -inum "${found#*:}" -printf '%D:%i %p\n' 2>/dev/null |
    grep -m 1 "^$found ")
if [ -n "$holder" ]; then
    pid=${holder#*/proc/}; pid=${pid%%/*}
    fail "$path is in use: process $pid ($(cat "/proc/$pid/comm")) has it open"
fi
rm -- "$target/$name" || fail
sync -- "${target:-/}" || fail
finish done 0
"""

# chmod(1) knows no -h: the last step of `target` is no link, and nobody else can make it one.
_PERMIT = r"""
begin
walk "$path"
[ -f "$target" ] || fail "$path is not there, or not a regular file"
[ -z "$whose" ] || chown -h -- "$whose" "$target" || fail
[ -z "$mode" ] || chmod -- "$mode" "$target" || fail
sync -- "$target" || fail
finish done 0
"""


def fetch_file(state: str, effect: FetchFile, entry: Entry) -> bytes:
    """Download it beside its place. ValueError for a URL that curl's configuration cannot hold."""
    if not _PLAIN_URL.fullmatch(effect.url):
        raise ValueError("not a URL of http or https in plain signs")
    variables = {
        "url": effect.url,
        "shown": effect.redacted_url,
        "sha256": effect.sha256,
        "path": effect.path,
        "stall": str(effect.stall),
        "schemes": "https" if effect.url.startswith("https:") else "http,https",
        "program": _program(),
    }
    return script(state, entry, variables, effect.journalled(), _FETCH)


def make_image(state: str, effect: MakeImage, entry: Entry) -> bytes:
    """Make it beside its place, where there is nothing yet."""
    variables = {
        "path": effect.path,
        "format": effect.format,
        "size": "" if effect.size is None else str(effect.size),
        "source": effect.source or "",
        "from": effect.source_format or "",
        "sha256": effect.sha256 or "",
        "overlay": "yes" if effect.overlay else "",
        "whose": effect.whose,
        "mode": _octal(effect.mode),
        "state": state,
    }
    return script(state, entry, variables, effect.journalled(), FILES + WALK + LOOK + _MAKE)


def grow_image(state: str, effect: GrowImage, entry: Entry) -> bytes:
    """Grow it, or have the guest that holds it grow its disk."""
    variables = {"path": effect.path, "size": str(effect.size), "format": effect.format}
    return script(state, entry, variables, effect.journalled(), WALK + LOOK + _GROW)


def remove_image(state: str, effect: RemoveImage, entry: Entry) -> bytes:
    """Remove it, if it is the one that the plan has seen, and nobody has it open."""
    variables = {"path": effect.path, "identity": effect.identity}
    return script(state, entry, variables, effect.journalled(), WALK + _REMOVE)


def permit_image(state: str, effect: PermitImage, entry: Entry) -> bytes:
    """Set owner, group or mode."""
    variables = {"path": effect.path, "whose": effect.whose, "mode": _octal(effect.mode)}
    return script(state, entry, variables, effect.journalled(), WALK + _PERMIT)


def _octal(mode: int | None) -> str:
    return "" if mode is None else f"{mode:o}"


@cache
def _program() -> str:
    """`fetch.py`, which runs on the machine."""
    return Path(__file__).with_name("fetch.py").read_text(encoding="utf-8")
