"""The constant part of the script that reads: what answers one question, and what watches over it.

Text alone. `read_script` puts numbers before it, and questions between its two parts.
"""

from __future__ import annotations

from typing import Final

# `look` finds the folders that a pattern passes over in silence because they cannot be read.
# `regular` also takes a link that leads nowhere: only opening it tells whether its target is absent
# or just out of reach. `why` has the shell say that, for which ENOENT and ENOTDIR may be the same; it opens
# only what is not there.
#
# The shell cannot tell the end of a file from an error, and drops NULs. So `attribute` believes a line
# only where it saw its end, `line` takes only files of the kernel (without NULs) of one such line, and
# `text` only what is as long as the file. All else is left to `head`.
PRELUDE: Final = r"""
LC_ALL=C
TZ=UTC
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL TZ PATH
newline='
'
mark() { printf '\n%s %s\n' "$nonce" "$1"; }
ask() {
    index=$1; shift
    mark "out $index"
    { said=$("$@" </dev/null 2>&1 1>&3 3>&-); status=$?; } 3>&1
    mark "err $index $status"
    printf %s "$said"
}
said() { printf '\n%s out %s\n%s\n%s err %s 0\n' "$nonce" "$1" "$2" "$nonce" "$1"; }
failed() { mark "out $1"; mark "err $1 1"; printf %s "$2"; }
named() { printf '\n%s name %s\n%s' "$nonce" "$1" "$2"; }
why() {
    above=${1%/*}
    while [ ! -e "$above" ] && [ "$above" != "${above%/*}" ]; do above=${above%/*}; done
    if [ ! -e "$above" ] || [ -d "$above" ]; then { true <"$1"; } 2>&1; else echo 'Not a directory'; fi
}
there() { [ -e "$1" ] || [ -L "$1" ]; }
look() { [ ! -d "$1" ] || { [ -r "$1" ] && [ -x "$1" ]; } || denied=$1; }
regular() { [ -f "$1" ] || { [ -L "$1" ] && [ ! -e "$1" ]; }; }
file() {
    if [ -f "$3" ]; then
        ask "$1" head -c "$2" -- "$3"
    elif [ -d "$3" ]; then
        failed "$1" 'Is a directory'
    elif [ -e "$3" ]; then
        failed "$1" 'it is not a regular file'
    else
        failed "$1" ''
        why "$3"
    fi
}
line() {
    if [ -f "$3" ] && { { IFS= read -r line && ! read -r more && [ -z "$more" ]; } <"$3"; } 2>/dev/null; then
        said "$1" "$line$newline"
    else
        file "$@"
    fi
}
text() {
    [ "$3" -gt 0 ] && [ "$3" -le "$most_of_text" ] || return 1
    text=
    while IFS= read -r line; do text=$text$line$newline; done <"$2" || return 1
    text=$text$line
    [ "${#text}" -eq "$3" ] && said "$1" "$text"
}
contents() {
    at=$1; limit=$2; shift 2
    sizes=
    [ "$#" -eq 1 ] || sizes=$(stat -Lc %s -- "$@" 2>/dev/null) || sizes=
    for path do
        size=${sizes%%"$newline"*}; sizes=${sizes#*"$newline"}
        regular "$path" || continue
        named "$at" "$path"
        { text "$at" "$path" "${size:-0}"; } 2>/dev/null || file "$at" "$limit" "$path"
    done
}
attribute() {
    regular "$2" || return 0
    named "$1" "$2"
    if { IFS= read -r line <"$2"; } 2>/dev/null; then
        said "$1" "$line$newline"
    else
        file "$1" "$3" "$2"
    fi
}
link() {
    [ -L "$2" ] || return 0
    named "$1" "$2"
    ask "$1" readlink -nv -- "$2"
}
name() {
    there "$2" || return 0
    named "$1" "$2"
    said "$1" ''
}
any() {
    for found do ! there "$found" || return 0; done
    return 1
}
conclude() {
    at=$1; shift
    if [ -n "$denied" ]; then
        mark "err $at 1"
        printf '%s: Permission denied' "$denied"
        return
    fi
    status=0
    for folder do [ -e "$folder" ] || status=1; done
    mark "err $at $status"
    for folder do [ -e "$folder" ] || why "$folder"; done
}
"""

# All reads are done by one child, `work`, which says in a pipe at which one it is. A signal of `tick`
# ends the wait for it every few seconds: if it is where it was for too long, it is killed with all that
# is below it, and the next child goes on behind that read. A process in state D (a dead mount) dies
# when it can; nobody waits for it.
#
# The pipe is that of `: |`, opened for both directions (fifo(7)). Nobody reads what is not there: the
# word `tick` is written before.
SUPERVISOR: Final = r"""
tick() {
    trap 'kill "$nap"; exit 0' TERM
    while sleep "$pause" & nap=$!; do wait "$nap" && kill -USR1 "$me" || exit 0; done
}
progress() { echo tick >&9; while read -r line <&9 && [ "$line" != tick ]; do at=$line; done; }
end_all() {
    doomed=" $1 "; more=1
    while [ -n "$more" ]; do
        more=
        for stat in /proc/[0-9]*/stat; do
            { read -r line <"$stat"; } 2>/dev/null || continue
            pid=${line%% *}
            set -- ${line##*) }
            case $doomed in *" $pid "*) continue ;; *" $2 "*) doomed="$doomed$pid "; more=1 ;; esac
        done
    done
    kill -KILL $doomed 2>/dev/null
}
watch() {
    at=$from; was=; waited=0
    while :; do
        before=$ticks
        wait "$worker"
        [ $? -ne 127 ] && [ "$ticks" -ne "$before" ] || return
        progress
        if [ "$at" = "$was" ]; then waited=$((waited + 1)); else was=$at; waited=0; fi
        patience
        [ "$waited" -lt "$allowed" ] || { end_all "$worker"; return; }
    done
}
: | {
exec 9<>/proc/self/fd/0 </dev/null
read -r me line </proc/self/stat
ticks=0
trap 'ticks=$((ticks + 1))' USR1
tick >/dev/null 2>&1 9>&- &
ticker=$!
from=0; hung=0; counts=1
while [ "$from" -lt "$count" ] && [ "$hung" -lt "$most" ]; do
    work "$from" &
    worker=$!
    watch
    progress
    from=$at
    if [ "$at" -lt "$count" ]; then mark "late $at"; hung=$((hung + counts)); from=$((at + 1)); fi
done
kill "$ticker" 2>/dev/null
[ "$from" -ge "$count" ] || mark "left $from"
mark end
}
exit 0
"""
