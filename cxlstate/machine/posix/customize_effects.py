"""An image made what a first boot is to find, by virt-customize, as a script. Pure.

Three times libguestfs boots its small machine: to look whether a file system was left mounted, to work, and
to read what was told. `direct`: as root, libguestfs would else ask libvirt for a VM, whose user cannot open
the draft (guestfs(3), BACKEND). virt-customize writes the log of a script that fails to /dev/stderr, which it
opens anew: a file would lose what stands in it (`customize_run.ml`), hence the pipe.

The draft is root's alone, beside the image, whose place it takes whole. Before that, which file it is goes to
where the host keeps it: where the power goes in between, the image is still as its source, and is done anew.
"""

from __future__ import annotations

from base64 import encodebytes

from cxlstate.core.first_boot import CustomizeImage
from cxlstate.formats import cloud_init, first_boot_script, host_keys, password
from cxlstate.machine.outcome import Entry
from cxlstate.machine.posix.effects import FILES, LOG, script
from cxlstate.machine.posix.image_effects import LOOK, WALK

LAUNCHES = 2
"""Beside the work itself, as long as that at most."""

# A journal is seen only before anything mounts the file system, which replays it without a word.
_CLEAN = r"""
cat >"$tmp/look" <<'END' || fail
run
list-filesystems | cat >"$GUESTFS_SEEN"
<! sed -n 's|^\(/dev/[A-Za-z0-9/_-]*\): ext[234]$|echo \1\ntune2fs-l \1|p' "$GUESTFS_SEEN"
END
unmounted() {
    tool guestfish --ro --format="$format" --add "$new" --file "$tmp/look" >"$tmp/superblocks" || return
    open=$(awk '/^\/dev\// { at = $1 } /^Filesystem features:.* needs_recovery/ { print at }' \
        "$tmp/superblocks")
    [ -z "$open" ] || fail "$open in $path was not unmounted: $source was copied from a machine that ran"
}
"""

_WORK = r"""
tool() {
    (umask 077; exec env LIBGUESTFS_BACKEND=direct GUESTFS_SEEN="$tmp/seen" timeout -k 30 "$timeout" "$@") \
        </dev/null 9>&-
}
piped() { { "$@" 2>&1; echo $? >"$tmp/status"; } | cat >>"$said"; return "$(cat "$tmp/status")"; }
identify() { stat --format="$identity" -- "$1"; }
note() {
    (umask 077; mkdir -p -- "${1%/*}") && cat >"$tmp/note" && sync -- "$tmp/note" &&
        mv -fT -- "$tmp/note" "$1" || fail
}
end() {
    status=$?
    [ $status -ne 124 ] || echo "it was stopped: not done within $timeout s" >&2
    finish failed $status
}
cut_log() {
    [ "$(wc -c <"$kept")" -le "$most" ] || { tail -c "$most" "$kept" >"$tmp/log" && mv "$tmp/log" "$kept"; }
}
"""

_CUSTOMIZE = r"""
begin
(umask 077; mkdir -p -- "${kept%/*}" && : >"$kept") || fail
said=$kept
exec 2>>"$said"
for program in virt-customize virt-cat guestfish; do
    command -v "$program" >/dev/null || fail "$program is not installed (package libguestfs-tools)"
done
walk "$path"
[ -f "$target" ] || fail "$path is not there, or not a regular file"
was=$(identify "$target") || fail
look "$source"
# Without -U: whoever runs on it has it locked, and that is said.
qemu-img compare -q -f "$seen_format" -F "$format" -- "$source" "$target" >>"$said" 2>&1
case $? in
    0) ;;
    1) fail "$path holds something else than $source, of which it was made: a guest may have used it" ;;
    *) fail ;;
esac
announce
(umask 077; cp --reflink=auto --sparse=always -- "$target" "$new") || fail "no copy of it in $folder"
unmounted || end
piped tool virt-customize --format "$format" --add "$new" --no-network --no-logfile --selinux-relabel \
    --run "$tmp/first-boot" || end
tool virt-cat --format="$format" --add "$new" "$told" >"$tmp/told" || end
[ "$(head -n 1 "$tmp/told")" = "$instance" ] || fail "what was done is not on the disk"
cp --attributes-only --preserve=mode,ownership -- "$target" "$new" || fail
cp --attributes-only --preserve=xattr -- "$target" "$new" 2>/dev/null
sync -- "$new" || fail
[ "$(identify "$target")" = "$was" ] || finish stale 0
is=$(identify "$new") || fail
printf '%s\n' "$is" | note "$identity_file"
sed 1d "$tmp/told" | cut -d ' ' -f 1,2 | note "$keys"
printf %s "$made" | note "$made_file"
ln -sfn -- "$path" "$disk" && sync -- "${disk%/*}" || fail
mv -fT -- "$new" "$target" && sync -- "$folder" || fail
cut_log
finish done 0
"""


def customize_image(state: str, effect: CustomizeImage, entry: Entry) -> bytes:
    """Hashed here: what leaves this computer of a password is its hash, in a file that goes with the work."""
    variables = {
        "path": effect.path,
        "format": effect.format,
        "source": effect.source,
        "kept": effect.log,
        "most": str(LOG),
        "timeout": str(effect.timeout),
        "told": first_boot_script.TOLD,
        "instance": effect.boot.instance,
        "identity": first_boot_script.IDENTITY,
        "identity_file": first_boot_script.identity(effect.vm),
        "keys": host_keys.path(effect.vm),
        "made": effect.made_from,
        "made_file": cloud_init.made_from(effect.vm),
        "disk": first_boot_script.disk(effect.vm),
    }
    work = encodebytes(first_boot_script.script(effect.boot, password.sha512_crypt).encode()).decode("ascii")
    body = f"""{FILES}{WALK}{LOOK}{_WORK}
trap 'rm -f -- "$tmp/first-boot"' EXIT
(umask 077; base64 -d >"$tmp/first-boot") <<'END' || fail
{work}END
{_CLEAN}{_CUSTOMIZE}"""
    return script(state, entry, variables, effect.journalled(), body)
