"""Effects on files with an owner, as scripts. Pure.

Root may have to write where a user may write too, who can put a link in place of anything there at any time.
So folders are entered one by one, and left alone if one turned out to be another than was named (`enter`):
from then on names are relative to a folder that is held, not to a path. What is to be put in place is made
in a folder below it that only root can enter (`stage`), so that neither chown(1) nor chmod(1) can be led
elsewhere, and is moved from there by one rename(2), which follows no link.
"""

from __future__ import annotations

from base64 import encodebytes

from cxlstate.core.file import PermitFile, PutFile, SetPassword, Unpack
from cxlstate.machine.outcome import Entry
from cxlstate.machine.posix.effects import FILES, program, script

_ENTER = r"""
name=${path##*/}; folder=${path%/*}; folder=${folder:-/}
be_in() { [ "$(pwd -P; echo x)" = "$1
x" ] || fail "$1 is reached through a symbolic link"; }
enter() {
    rest=${folder#/}; at=
    cd / || fail
    while [ -n "$rest" ]; do
        step=${rest%%/*}
        case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
        made=
        if [ ! -e "./$step" ] && [ ! -L "./$step" ]; then
            [ -n "$1" ] || fail "$at/$step does not exist"
            mkdir -m 0700 -- "./$step" && made=1 || fail
        fi
        cd -P -- "./$step" || fail
        at=$at/$step
        be_in "$at"
        [ -z "$made" ] || adopt
    done
}
is_ours() { [ "$(stat -c %u:%a .)" = "$(id -u):700" ] && [ -z "$(ls -A .)" ]; }
# A folder that was just made: nobody has put another in its place.
adopt() {
    is_ours || fail "$at is not the folder that was made"
    if [ -n "$private" ]; then
        [ -z "$whose" ] || chown -- "$whose" . || fail
    else
        chmod 0755 . || fail
    fi
    sync .. || fail
}
"""

_PUT = r"""
stage() {
    new=.$name.cxlstate
    printf %s "${folder%/}/$new" >"$tmp/leftover" && sync "$tmp/leftover" "$tmp" || fail
    rm -rf -- "./$new" && mkdir -m 0700 -- "./$new" && cd -P -- "./$new" || fail
    is_ours || fail "$new is not the folder that was made"
}
look() {
    before=
    if [ -e "../$name" ] || [ -L "../$name" ]; then
        [ -f "../$name" ] && [ ! -L "../$name" ] && cp -P -- "../$name" ./old \
            && [ -f ./old ] && [ ! -L ./old ] || fail "$path is not a regular file"
        before=$(sha256sum <./old) || fail
        before=${before%% *}
    fi
    [ "$before" = "$expected" ] || finish stale 0
    [ -n "$before" ] && [ -z "$secret" ] && [ ! -e "$store/$before" ] || return 0
    cat ./old >"$tmp/old" && sync "$tmp/old" && mv "$tmp/old" "$store/$before" && sync "$store" || fail
}
put() {
    if [ -f ./old ]; then chown --reference="../$name" ./new || fail; fi
    [ -z "$whose" ] || chown -- "$whose" ./new || fail
    if [ -f ./old ]; then
        cp --attributes-only --preserve=mode -- "../$name" ./new || fail
        cp --attributes-only --preserve=xattr -- "../$name" ./new 2>/dev/null
    else
        chmod 0644 ./new || fail
    fi
    [ -z "$mode" ] || chmod "$mode" ./new || fail
    if [ -f ./old ]; then cmp -s ./old "../$name" && [ ! -L "../$name" ]; else [ ! -e "../$name" ]; fi \
        || finish stale 0
    sync ./new && mv -fT -- ./new "../$name" && sync .. || fail
    cd / || fail
    case $path in /boot/*) settle_boot ;; esac
}
"""

# The file is held by a descriptor while it is looked at and given away, so that no name is followed twice.
_PERMIT = r"""
[ -f "./$name" ] && [ ! -L "./$name" ] || fail "$path is not a regular file"
command exec 8<"./$name" || fail
[ "$(stat -Lc %d:%i /dev/fd/8)" = "$(stat -c %d:%i "./$name")" ] || fail "$path was replaced meanwhile"
[ -z "$whose" ] || chown -- "$whose" /dev/fd/8 || fail
[ -z "$mode" ] || chmod "$mode" /dev/fd/8 || fail
sync "./$name" || fail
exec 8<&-
"""

# tar(1) keeps what it makes below the folder that it is in: no member with `..` or a / ahead leads out.
_UNPACKED = r"""
[ $status -eq 0 ] || finish failed $status
[ "$(ls -A .)" = "$name" ] && [ -d "./$name" ] && [ ! -L "./$name" ] \
    || fail "$archive does not hold one folder $name: $(ls -A . | head -n 5)"
sync -f -- "./$name" && mv -T -- "./$name" "../$name" && sync .. || fail
"""


def put_file(state: str, effect: PutFile, entry: Entry) -> bytes:
    """Look at what is there, make the new one beside it in a closed folder, put it in place."""
    words = {
        **_owner(effect),
        "expected": effect.expects,
        "secret": "1" if effect.secret else "",
        "private": "1" if effect.private else "",
    }
    return script(
        state,
        entry,
        words,
        effect.journalled(),
        f"""{FILES}{_ENTER}{_PUT}
begin
umask 077
enter make; stage; look
base64 -d >./new <<'END' || fail
{encodebytes(effect.data).decode("ascii")}END
put
finish done 0
""",
    )


def unpack(state: str, effect: Unpack, entry: Entry) -> bytes:
    """Unpack it beside its place in a closed folder, and put in place the one folder that it holds."""
    tar = ("tar", "--extract", "--no-same-owner", "--no-same-permissions", "--file", effect.archive)
    return script(
        state,
        entry,
        {"path": effect.folder, "archive": effect.archive, "private": "", "whose": ""},
        effect.journalled(),
        f"""{FILES}{_ENTER}{_PUT}
begin
umask 077
enter ''
[ ! -e "./$name" ] && [ ! -L "./$name" ] || finish stale 0
[ -f "$archive" ] || fail "$archive is not there, or not a regular file"
stage
{program(tar, (), effect.timeout)}
{_UNPACKED}
cd / || fail
finish done 0
""",
    )


def permit_file(state: str, effect: PermitFile, entry: Entry) -> bytes:
    """Enter its folder and give it away."""
    body = f"{_ENTER}\nbegin\nenter ''\n{_PERMIT}finish done 0\n"
    return script(state, entry, {**_owner(effect), "private": ""}, effect.journalled(), body)


def set_password(state: str, effect: SetPassword, entry: Entry) -> bytes:
    """The hash is in the script, which comes by standard input, and in no argument."""
    line = effect.user.encode() + b":" + effect.hash.reveal()
    return script(
        state,
        entry,
        {},
        effect.journalled(),
        f"""begin
base64 -d <<'END' | chpasswd --encrypted >>"$said" || fail
{encodebytes(line).decode("ascii")}END
finish done 0
""",
    )


def _owner(effect: PutFile | PermitFile) -> dict[str, str]:
    """For chown(1): `USER:` is the user with its login group."""
    private = isinstance(effect, PutFile) and effect.private and effect.owner
    group = f":{effect.group}" if effect.group or private else ""
    mode = "" if effect.mode is None else f"{effect.mode:04o}"
    return {"path": effect.path, "whose": f"{effect.owner}{group}", "mode": mode}
