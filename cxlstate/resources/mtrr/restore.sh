# shellcheck shell=sh
# Registers, by content. A row of the table, and the words of a verb, are in bytes, in hex with 0x:
#
#   mtrr_add BASE SIZE TYPE      nothing where the effect is there already; keeps `before` first
#   mtrr_remove BASE SIZE TYPE   refuses what `before` lists
#   mtrr NAME BASE SIZE TYPE

verbs="$verbs mtrr_add mtrr_remove"
before=$root/run/cxlstate/mtrr # /proc/mtrr as it was before the first write since the machine started

# LIST BASE SIZE TYPE: the register of just this content, as `index`.
mtrr_find() {
    while read -r index base size count type; do
        [ -n "$index" ] && [ "$base" -eq $(($2)) ] && [ "$size" -eq $(($3)) ] && [ "$type" = "$4" ] && return 0
    done <<END
$1
END
    return 1
}

# BASE SIZE TYPE: refuse what would only count up a register, or replace one that is not ours
# (mtrr_add_page: a single register of the same type that the new block encloses is replaced).
mtrr_may_be_added() {
    others=$(registers "$before") enclosed=0 foreign=
    while read -r index base size count type; do
        [ "$type" = "$3" ] || continue
        if [ "$base" -le $(($1)) ] && [ $(($1 + $2)) -le $((base + size)) ]; then
            refuse "a register holds $wanted already, but one of another type wins over it" || return 1
        fi
        if [ $(($1)) -le "$base" ] && [ $((base + size)) -le $(($1 + $2)) ]; then
            enclosed=$((enclosed + 1)) foreign="$base $size"
        fi
    done <<END
$now
END
    [ "$enclosed" -eq 1 ] || return 0
    base=${foreign% *} size=${foreign#* }
    mtrr_find "$others" "$base" "$size" "$3" || return 0
    refuse "$wanted would replace the register $(block "$base" "$size"), which is not cxlstate's"
}

mtrr_keep_before() {
    [ ! -e "$before" ] || return 0
    mkdir -p "${before%/*}" && cat "$root/proc/mtrr" >"${before%/*}/.mtrr" && mv -f "${before%/*}/.mtrr" "$before" ||
        refuse "could not keep a copy of /proc/mtrr as ${before#"$root"}"
}

# What the kernel said last of MTRRs, with its time. Some of it has no prefix (mtrr/mtrr.c).
mtrr_kernel_words() {
    dmesg 2>/dev/null | grep -E ' mtrr: |type mismatch for |overlaps existing |no more MTRRs|exceeds the MTRR width' | tail -n 1
}

# `wrote` says whether there was anything to do.
mtrr_add() {
    wrote='' wanted="$3 $(block "$1" "$2")"
    look || return 1
    ! in_effect "$@" || return 0
    without_ram "$1" "$2" && mtrr_keep_before && mtrr_may_be_added "$@" || return 1
    words=$(mtrr_kernel_words)
    tell "$(printf 'base=0x%x size=0x%x type=%s' "$1" "$2" "$3")" "$root/proc/mtrr"
    look || return 1
    if mtrr_find "$now" "$@"; then
        wrote=yes
        return 0
    fi
    heard=$(mtrr_kernel_words)
    [ "$heard" != "$words" ] || heard=$complaint
    heard=${heard#"["*"] "} # the time
    refuse "the kernel did not take $wanted: ${heard#mtrr: }"
}

# BASE SIZE TYPE. A line that was written twice has to be disabled twice.
mtrr_remove() {
    wanted="$3 $(block "$1" "$2")"
    look || return 1
    mtrr_find "$now" "$@" || return 0
    [ -r "$before" ] || refuse "$wanted stays: without ${before#"$root"} nobody knows whose it is" || return 1
    ! mtrr_find "$(registers "$before")" "$@" ||
        refuse "$wanted stays: it was there before cxlstate wrote any" || return 1
    while mtrr_find "$now" "$@"; do
        was=$now
        tell "disable=$index" "$root/proc/mtrr"
        look || return 1
        [ "$now" != "$was" ] || refuse "the kernel keeps $wanted: ${complaint##*: }" || return 1
    done
}

# All of them or none: what relies on them may be mapped in the wrong way otherwise.
mtrr_restore() {
    if ! mtrr_rows; then
        about=
        mtrr_roll_back
        refuse 'an MTRR is missing: those that were added are removed again' || return 2
    fi
}

mtrr_rows() {
    added=
    while read -r name start length as <&3; do
        [ -n "$name" ] || continue
        about="mtrr.$name: "
        look || return 1
        ! in_effect "$start" "$length" "$as" || continue
        vacate "$start" "$length" && mtrr_add "$start" "$length" "$as" || return 1
        [ -z "$wrote" ] || say "$wanted is written"
        added="$start $length $as
$added"
    done 3<<END
$(rows mtrr)
END
}

mtrr_roll_back() {
    while read -r start length as <&3; do
        [ -z "$start" ] || mtrr_remove "$start" "$length" "$as"
    done 3<<END
$added
END
}
