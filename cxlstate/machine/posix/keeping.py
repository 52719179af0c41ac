r"""How much of the journal and its store is kept on a machine: a shell function for the agent. Pure.

The journal has two parts, `journal.jsonl` and, before it, `journal.1.jsonl`. A part that is full or old
becomes the earlier one, and what was that goes. It happens before a run has written its first line, so
that the latest run is always whole. Then the store loses what no line that is kept names.

It runs under the lock, is done file by file, and may be stopped anywhere: the next one goes on.
"""

from __future__ import annotations

from cxlstate.core.read import MEBIBYTE

JOURNAL = 4 * MEBIBYTE
"""Bytes of a part of the journal, some ten thousand actions. The latest run may be longer."""

DAYS = 365
"""Age of the first line at which a part is full."""

STORE = 256 * MEBIBYTE
"""Bytes of the store; what the latest run put there is kept even so."""

# What is in the store and not in the journal may be of an action that was killed: if it is not older
# than the journal, it is kept. A list that could not be written whole removes nothing.
_FUNCTIONS = r"""
prune() {
    journal=$state/journal.jsonl earlier=$state/journal.1.jsonl store=$state/blobs
    command -v grep >/dev/null && command -v du >/dev/null || return 0
    past=$(date -u -d "$days days ago" +%Y-%m-%dT%H:%M:%SZ) || return 0
    if [ -s "$journal" ] && { [ "$(wc -c <"$journal")" -gt "$most" ] || is_before "$past" "$journal"; }; then
        mv -f "$journal" "$earlier" && forget_unnamed
    fi
    kept=$(du -sk "$store") && [ "${kept%%[!0-9]*}" -gt "$room" ] && forget_oldest
    return 0
}
first_at() { { IFS= read -r line <"$1"; } 2>/dev/null; line=${line#*'"at":"'}; echo "${line%%'"'*}"; }
is_before() { [ "$(printf '%s\n' "$(first_at "$2")" "$1" | sort | head -n 1)" != "$1" ]; }
names() {
    cat -- "$@" >"$tmp/lines" || return 1
    grep -o '"before":"[0-9a-f]\{64\}"' "$tmp/lines" >"$tmp/found"
    [ $? -le 1 ] && cut -d'"' -f4 "$tmp/found" >"$tmp/named" && sort -u -o "$tmp/named" "$tmp/named"
}
forget_unnamed() {
    names "$earlier" && touch -d "$(first_at "$earlier")" "$tmp/began" || return 0
    for blob in "$store"/*; do
        [ "$blob" -ot "$tmp/began" ] || continue
        grep -qxF -e "${blob##*/}" "$tmp/named" || rm -f -- "$blob"
    done
}
forget_oldest() {
    last=$journal
    [ -s "$last" ] || last=$earlier
    line=$(tail -n 1 "$last") && line=${line#*'"run":"'} && run=${line%%'"'*}
    grep -F "\"run\":\"$run\"" "$last" >"$tmp/latest" && names "$tmp/latest" || return 0
    kept=${kept%%[!0-9]*}
    ls -tr "$store" >"$tmp/oldest" || return 0
    while [ "$kept" -gt "$room" ] && read -r blob; do
        grep -qxF -e "$blob" "$tmp/named" && continue
        size=$(du -k "$store/$blob") && rm -f -- "$store/$blob" && kept=$((kept - ${size%%[!0-9]*}))
    done <"$tmp/oldest"
}
"""

PRUNE = f"most={JOURNAL} days={DAYS} room={STORE // 1024}\n{_FUNCTIONS}"
