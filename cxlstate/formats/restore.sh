# shellcheck shell=sh
# Everything below is constant. `restore` makes again what a reboot forgets, as the table says; `apply`
# runs the verbs of a fragment one by one. What a step acts on is found at that moment, by address or content.
#
# This is the head. The fragments behind it belong to the kinds: `resources/KIND/restore.sh`. All functions of
# one begin with KIND_. It puts its verbs into `verbs`, and may have
#
#   KIND_await              waits until what its rows are about is there
#   KIND_vacate BASE SIZE   lets go of memory whose type is about to change
#   KIND_restore            makes its rows again; 1: not all of them, 2: nor may what comes after them be made
#   KIND_forgo              takes back what may not be there without what should have come before
#
# Each of these four runs in a shell of its own, so that no variable of one kind gets in the way of another.
#
# Paths of the kernel, and what is volatile, stand below $root, which is empty on a machine. Nothing but `tell`
# writes to the kernel, so that the simulator can answer in its place.

LC_ALL=C
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL PATH
umask 022

verbs=
about=

say() { printf 'cxlstate: %s%s\n' "$about" "$*" >&2; }
refuse() {
    say "$@"
    return 1
}
block() { printf '0x%x+0x%x' "$1" "$2"; }

# LINE FILE: write to a file of the kernel. The shell's own echo does not say why it could not.
tell() { complaint=$(printf '%s\n' "$1" | tee -- "$2" 2>&1 >/dev/null); }

# FILE: sets `value` to the number that the kernel has written there. Nothing else gets into arithmetic,
# where some shells run commands.
number() {
    value=
    { read -r value <"$1"; } 2>/dev/null || return 1
    case $value in
        0x*[!0-9a-f]* | 0x | 0x?????????????????* | 0[!x]* | '' | [!0-9]* | [!0]*[!0-9]*) return 1 ;;
    esac
    value=$((value))
}

# Registers: lists of `INDEX BASE SIZE COUNT TYPE`, in bytes. ? stands for a line of another form.

registers() {
    sed -e 's/^reg0*\([0-9][0-9]*\): base=\(0x[0-9a-f]*\) ([^)]*), size= *\([0-9]*\)\([KM]\)B, count=\([0-9]*\): \([a-z-]*\)$/\1 \2 \3 \4 \5 \6/' \
        -e t -e 's/.*/?/' -- "$1" |
        while read -r index base size unit count type; do
            case $unit in
                K) echo "$index $((base)) $((size << 10)) $count $type" ;;
                M) echo "$index $((base)) $((size << 20)) $count $type" ;;
                *) echo '?' ;;
            esac
        done
}

look() {
    [ -r "$root/proc/mtrr" ] || refuse 'there is no /proc/mtrr: the kernel lets nobody set MTRRs here' || return 1
    now=$(registers "$root/proc/mtrr")
    case $now in *'?'*) refuse 'a line of /proc/mtrr is of an unknown form' ;; esac
}

# BASE SIZE TYPE: whether it is the type of every byte already. Uncachable wins over all others, and
# write-through over write-back (get_effective_type in mtrr/generic.c).
in_effect() {
    at=$(($1)) end=$(($1 + $2))
    while [ "$at" -lt "$end" ]; do
        from=$at
        while read -r index base size count type; do
            [ "$type" = "$3" ] && [ "$base" -le "$at" ] && [ "$at" -lt $((base + size)) ] && at=$((base + size))
        done <<END
$now
END
        [ "$at" -gt "$from" ] || return 1
    done
    [ "$3" != uncachable ] || return 0
    while read -r index base size count type; do
        case $3:$type in *: | "$type:$3" | write-through:write-back) continue ;; esac
        [ "$base" -ge "$end" ] || [ $((base + size)) -le $(($1)) ] || return 1
    done <<END
$now
END
}

# BASE SIZE: refuse System RAM, that of kmem too.
without_ram() {
    last=$(($1 + $2 - 1)) seen=
    while IFS=' -' read -r low high _ name; do
        case $low$high in '' | *[!0-9a-f]*) refuse 'a line of /proc/iomem is of an unknown form' || return 1 ;; esac
        [ "$high" = 00000000 ] || seen=yes
        case $name in "System RAM"*) ;; *) continue ;; esac
        if [ $((0x$low)) -le "$last" ] && [ $(($1)) -le $((0x$high)) ]; then
            refuse "$(block "$1" "$2") has System RAM in it: 0x$low-0x$high, $name" || return 1
        fi
    done <"$root/proc/iomem"
    [ -n "$seen" ] || refuse '/proc/iomem hides its addresses'
}

# A line for the first byte and one for the last: where in the device it is, and what it is.
map_and_read=$(
    cat <<'PYTHON'
import mmap, os, sys
path, align, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
try:
    device = os.open(path, os.O_RDONLY)
    for start, at in ((0, 0), (size - align, align - 1)):
        with mmap.mmap(device, align, mmap.MAP_SHARED, mmap.PROT_READ, offset=start) as memory:
            print(f"{start + at:#x} {memory[at]:#04x}")
except OSError as error:
    sys.exit(f"{path}: {error.strerror}")
PYTHON
)

# The table. It is read from descriptors 3 and 4, which no step touches.

# KIND: its rows, without its name.
rows() {
    while read -r of row; do
        [ "$of" != "$1" ] || printf '%s\n' "$row"
    done <<END
$table
END
}

restore() {
    [ "${table+set}" ] || refuse 'there is no table' || return 1
    case $(printf %s "$table" | tr '\n' ' ') in
        *[!A-Za-z0-9_.:=+\ -]*) refuse 'a word of the table is not plain' || return 1 ;;
    esac
    kinds_of_the_table || return 1
    for kind in $kinds; do
        part "$kind" await
    done
    failed='' barred=
    for kind in $kinds; do
        if [ -n "$barred" ]; then
            part "$kind" forgo
            continue
        fi
        ("${kind}_restore")
        case $? in
            0) ;;
            2) failed=yes barred=yes ;;
            *) failed=yes ;;
        esac
    done
    [ -z "$failed" ]
}

# Sets `kinds`, in the order of their first rows.
kinds_of_the_table() {
    kinds=
    while read -r kind _ <&3; do
        case " $kinds " in *" $kind "*) continue ;; esac
        is_function "${kind}_restore" || refuse "nothing here restores $kind" || return 1
        kinds="$kinds $kind"
    done 3<<END
$table
END
}

is_function() { case $(command -v "$1") in "$1") ;; *) return 1 ;; esac; }

# KIND PART WORD…: a part that a fragment may have or not.
part() {
    called=$1_$2
    shift 2
    ! is_function "$called" || ("$called" "$@")
}

# BASE SIZE: the kernel looks at the MTRRs when it maps memory (pat_x_mtrr_type in mm/pat/memtype.c), and would
# go on mapping it as it was.
vacate() {
    for holder in $kinds; do
        part "$holder" vacate "$@" || return 1
    done
}

uptime() {
    read -r now_is _ <"$root/proc/uptime"
    echo "${now_is%%.*}"
}

main() {
    verb=${1-}
    [ $# -eq 0 ] || shift
    for word; do
        case $word in '' | *[!A-Za-z0-9_.:=+-]*) refuse "not a plain word: $word" || return 64 ;; esac
    done
    case " $verbs restore " in
        *" ${verb:-?} "*) "$verb" "$@" ;;
        *)
            say "not a verb: $verb"
            return 64
            ;;
    esac
}
