# shellcheck shell=sh
# Everything below is constant. `restore` makes again what a reboot forgets, as the table says; `apply`
# runs the other verbs one by one. What a step acts on is found at that moment, by address or content.

LC_ALL=C
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL PATH
umask 022

before=/run/cxlstate/mtrr # /proc/mtrr as it was before the first write since the machine started
links=/dev/cxlstate
devices=/sys/bus/dax/devices
drivers=/sys/bus/dax/drivers
memory=/sys/devices/system/memory
pat=/sys/kernel/debug/x86/pat_memtype_list
noted=/run/cxlstate/write-back # ranges that were mapped so when they were bound, under uncachable MTRRs
patience=60 # seconds for devices to come
about=

say() { printf 'cxlstate: %s%s\n' "$about" "$*" >&2; }
refuse() {
    say "$@"
    return 1
}
block() { printf '0x%x+0x%x' "$1" "$2"; }

# Write a line to a file of the kernel. The shell's own echo does not say why it could not.
tell() { complaint=$(printf '%s\n' "$1" | tee -- "$2" 2>&1 >/dev/null); }

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
    [ -r /proc/mtrr ] || refuse 'there is no /proc/mtrr: the kernel lets nobody set MTRRs here' || return 1
    now=$(registers /proc/mtrr)
    case $now in *'?'*) refuse 'a line of /proc/mtrr is of an unknown form' ;; esac
}

# LIST BASE SIZE TYPE: the register of just this content, as `index`.
find_register() {
    while read -r index base size count type; do
        [ -n "$index" ] && [ "$base" -eq $(($2)) ] && [ "$size" -eq $(($3)) ] && [ "$type" = "$4" ] && return 0
    done <<END
$1
END
    return 1
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

# BASE SIZE TYPE: refuse what would only count up a register, or replace one that is not ours
# (mtrr_add_page: a single register of the same type that the new block encloses is replaced).
may_be_added() {
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
    find_register "$others" "$base" "$size" "$3" || return 0
    refuse "$wanted would replace the register $(block "$base" "$size"), which is not cxlstate's"
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
    done </proc/iomem
    [ -n "$seen" ] || refuse '/proc/iomem hides its addresses'
}

keep_before() {
    [ ! -e "$before" ] || return 0
    mkdir -p "${before%/*}" && cat /proc/mtrr >"${before%/*}/.mtrr" && mv -f "${before%/*}/.mtrr" "$before" ||
        refuse "could not keep a copy of /proc/mtrr as $before"
}

# What the kernel said last of MTRRs, with its time. Some of it has no prefix (mtrr/mtrr.c).
kernel_words() {
    dmesg 2>/dev/null | grep -E ' mtrr: |type mismatch for |overlaps existing |no more MTRRs|exceeds the MTRR width' | tail -n 1
}

# `wrote` says whether there was anything to do.
mtrr_add() {
    wrote='' wanted="$3 $(block "$1" "$2")"
    look || return 1
    ! in_effect "$@" || return 0
    without_ram "$1" "$2" && keep_before && may_be_added "$@" || return 1
    words=$(kernel_words)
    tell "$(printf 'base=0x%x size=0x%x type=%s' "$1" "$2" "$3")" /proc/mtrr
    look || return 1
    if find_register "$now" "$@"; then
        wrote=yes
        return 0
    fi
    heard=$(kernel_words)
    [ "$heard" != "$words" ] || heard=$complaint
    heard=${heard#"["*"] "} # the time
    refuse "the kernel did not take $wanted: ${heard#mtrr: }"
}

# BASE SIZE TYPE. A line that was written twice has to be disabled twice.
mtrr_remove() {
    wanted="$3 $(block "$1" "$2")"
    look || return 1
    find_register "$now" "$@" || return 0
    [ -r "$before" ] || refuse "$wanted stays: without $before nobody knows whose it is" || return 1
    ! find_register "$(registers "$before")" "$@" ||
        refuse "$wanted stays: it was there before cxlstate wrote any" || return 1
    while find_register "$now" "$@"; do
        was=$now
        tell "disable=$index" /proc/mtrr
        look || return 1
        [ "$now" != "$was" ] || refuse "the kernel keeps $wanted: ${complaint##*: }" || return 1
    done
}

# Devices.

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

# DEVICE ATTRIBUTE
get() { number "$devices/$1/$2"; }

# DEVICE: sets `ranges`, lines of `START END` by address, with END behind it and neighbours as one, and
# `written`, the same as a selector has it. A device can have several (drivers/dax/bus.c); before Linux
# 5.10 it has one, and no mapping*.
memory_of() {
    found=
    for mapping in "$devices/$1"/mapping[0-9]*; do
        [ -e "$mapping/start" ] || continue
        number "$mapping/start" && at=$value && number "$mapping/end" || return 1
        found="$found$at $((value + 1))
"
    done
    if [ -z "$found" ]; then
        get "$1" resource && at=$value && get "$1" size || return 1
        found="$at $((at + value))"
    fi
    ranges='' written='' at='' to=
    while read -r low high; do
        if [ -n "$low" ] && [ "$low" = "$to" ]; then
            to=$high
            continue
        fi
        [ -z "$at" ] || add_range
        at=$low to=$high
    done <<END
$(printf '%s\n' "$found" | sed '/^$/d' | sort -n)

END
}

add_range() {
    ranges="$ranges$at $to
" written=${written:+$written:}$(block "$at" $((to - at)))
}

# START END: whether any of the `ranges` has a byte in it.
in_ranges() {
    while read -r low high; do
        [ -n "$low" ] && [ "$low" -lt "$2" ] && [ "$1" -lt "$high" ] && return 0
    done <<END
$ranges
END
    return 1
}

# DEVICE SELECTOR
matches() {
    get "$1" size && [ "$value" -gt 0 ] || return 1
    case $2 in
        name=*) [ "$1" = "${2#name=}" ] ;;
        node=*) get "$1" target_node && [ "$value" = "${2#node=}" ] ;;
        range=*) memory_of "$1" && [ "$written" = "${2#range=}" ] ;;
        *) return 1 ;;
    esac
}

# SELECTOR: sets `device`; 1: there is none, 2: there are several.
resolve() {
    device=
    for path in "$devices"/*; do
        matches "${path##*/}" "$1" || continue
        [ -z "$device" ] || return 2
        device=${path##*/}
    done
    [ -n "$device" ]
}

# SELECTOR: sets `device` and `driver`.
locate() {
    resolve "$1"
    case $? in
        1) refuse "no dax device is $1" || return 1 ;;
        2) refuse "more than one dax device is $1" || return 1 ;;
    esac
    bound_to
}

bound_to() {
    driver=$(readlink "$devices/$device/driver")
    driver=${driver##*/}
}

# Processes that have `device` open or mapped, by its file name alone, since libvirt gives each QEMU a
# /dev of its own. Those that end meanwhile are no trouble; everything else that is complained of is.
holders() {
    name=$(printf %s "$device" | sed 's/\./[.]/g')
    { trouble=$({
        find /proc/[0-9]*/fd -maxdepth 1 -xtype c \( -lname "*/$name" -o -lname "*/$name (deleted)" \)
        grep -lE "/$name( \(deleted\))?\$" /proc/[0-9]*/maps
    } 2>&1 >&5); } 5>&1
    ! printf '%s\n' "$trouble" | grep -v -e ': No such file or directory$' -e ': No such process$' -e '^$' >&2
}

# Refuse while anybody holds `device`.
idle() {
    [ "$(id -u)" -eq 0 ] && found=$(holders) || refuse "could not tell who holds $device" || return 1
    for pid in $(printf '%s\n' "$found" | sed -n 's,^/proc/\([0-9]*\)/.*,\1,p' | sort -un); do
        { command=$(tr '\000-\037\177' '[ *]' <"/proc/$pid/cmdline" | cut -c 1-200); } 2>/dev/null || continue
        refuse "$device is held by process $pid: $command" || return 1
    done
}

# SELECTOR ALIGN|-
dax_bind() {
    locate "$1" && get "$device" align || return 1
    align=$value
    [ "$2" = - ] || align=$(($2))
    case $driver in
        device_dax)
            [ "$align" -eq "$value" ] || refuse "$device is in use with alignment $value, not $align" || return 1
            ;;
        '')
            not_ram || return 1
            [ "$align" -eq "$value" ] || tell "$align" "$devices/$device/align" ||
                refuse "the kernel refuses alignment $align for $device: ${complaint##*: }" || return 1
            attach || return 1
            ;;
        *) refuse "$device belongs to $driver" || return 1 ;;
    esac
    node
}

# Memory that kmem could not give back stays System RAM although kmem is unbound (drivers/dax/kmem.c).
not_ram() (
    memory_of "$device" || refuse "sysfs does not say where $device is" || return 1
    ranges_without_ram || refuse "$device cannot be bound before the next reboot"
)

ranges_without_ram() {
    while read -r start end <&4; do
        [ -z "$start" ] || without_ram "$start" $((end - start)) || return 1
    done 4<<END
$ranges
END
}

# A write to new_id binds too, but says nothing of a failure; one to bind does.
attach() {
    [ -d "$drivers/device_dax" ] || modprobe device_dax || refuse 'there is no driver device_dax' || return 1
    tell "$device" "$drivers/device_dax/new_id"
    bound_to
    [ -n "$driver" ] || tell "$device" "$drivers/device_dax/bind"
    bound_to
    [ "$driver" = device_dax ] || refuse "the kernel does not bind $device: ${complaint##*: }" || return 1
    say "$device is bound"
    note
}

# Keep what the kernel made of `device` when it was bound: a second time would not come out otherwise.
# A plan knows by it that the device was not just bound before its MTRRs were written.
note() {
    memory_of "$device" && cached || return 0
    grep -qxF -- "$written" "$noted" 2>/dev/null ||
        { mkdir -p "${noted%/*}" && printf '%s\n' "$written" >>"$noted"; } ||
        say "could not note in $noted how $device is mapped"
}

# udev may take a moment.
node() {
    [ -c "/dev/$device" ] || udevadm settle --timeout=10 2>/dev/null
    [ -c "/dev/$device" ] || refuse "/dev/$device does not come"
}

# SELECTOR. Its name goes too, or else no other driver would ever take it (dax_bus_match).
dax_unbind() {
    locate "$1" || return 1
    case $driver in
        '') return 0 ;;
        device_dax) idle && detach ;;
        *) refuse "$device belongs to $driver" ;;
    esac
}

detach() {
    from=$driver
    tell "$device" "$drivers/$from/remove_id"
    tell "$device" "$drivers/$from/unbind"
    bound_to
    [ -z "$driver" ] || refuse "$device stays bound to $driver: ${complaint##*: }" || return 1
    say "$device is taken from $from"
}

# SELECTOR
dax_reclaim() {
    locate "$1" || return 1
    [ "$driver" = kmem ] || refuse "$device belongs to ${driver:-no driver}, and not to kmem" || return 1
    memory_of "$device" || refuse "sysfs does not say where $device is" || return 1
    taken=
    while read -r start end <&4; do
        [ -z "$start" ] || offline "$start" "$end" || {
            online
            return 1
        }
    done 4<<END
$ranges
END
    detach || return 1
    ranges_without_ram || refuse 'the kernel lets go of it at the next reboot'
}

# START END: the whole blocks in it, the last first. Those it took are in `taken`, with their zone.
offline() {
    { read -r length <"$memory/block_size_bytes"; } 2>/dev/null
    case $length in '' | *[!0-9a-f]*) refuse 'the kernel does not say how large its blocks of memory are' || return 1 ;; esac
    length=$((0x$length))
    first=$((($1 + length - 1) / length)) number=$(($2 / length))
    while [ "$number" -gt "$first" ]; do
        number=$((number - 1))
        { read -r state <"$memory/memory$number/state"; } 2>/dev/null || continue
        [ "$state" != offline ] || continue
        read -r zone _ <"$memory/memory$number/valid_zones"
        tell offline "$memory/memory$number/state" ||
            refuse "memory$number of $device stays in use: ${complaint##*: }" || return 1
        taken="$number $zone
$taken"
    done
}

online() {
    while read -r number zone; do
        case $zone in
            '') continue ;;
            Movable) word=online_movable ;;
            *) word=online_kernel ;;
        esac
        tell "$word" "$memory/memory$number/state" || say "memory$number stays offline: ${complaint##*: }"
    done <<END
$taken
END
}

# NAME SELECTOR
dax_link() {
    locate "$2" && node || return 1
    [ "$driver" = device_dax ] || refuse "$device is not bound, and gets no link" || return 1
    not_cached || return 1
    [ "$(readlink "$links/$1")" != "../$device" ] || return 0
    mkdir -p "$links" && rm -f "$links/.$1" && ln -s "../$device" "$links/.$1" && mv -T "$links/.$1" "$links/$1" ||
        refuse "could not make $links/$1" || return 1
    say "$links/$1 leads to $device"
}

# NAME
dax_unlink() { rm -f "$links/$1" "$links/.$1"; }

# SELECTOR
dax_check() {
    locate "$1" || return 1
    [ "$driver" = device_dax ] || refuse "$device is not bound, and cannot be mapped" || return 1
    not_cached && get "$device" align && align=$value && get "$device" size || return 1
    command -v python3 >/dev/null || {
        say 'not checked: python3 is not installed'
        return 0
    }
    timeout -k 5 60 python3 -ISB -c "$map_and_read" "/dev/$device" "$align" "$value" ||
        refuse "/dev/$device cannot be mapped and read"
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

# The table. It is read from descriptor 3, which no step touches.

restore() {
    [ "${table+set}" ] || refuse 'there is no table' || return 1
    case $(printf %s "$table" | tr '\n' ' ') in
        *[!A-Za-z0-9_.:=+\ -]*) refuse 'a word of the table is not plain' || return 1 ;;
    esac
    await_devices
    if ! restore_registers; then
        about=
        roll_back
        drop_links
        refuse 'an MTRR is missing: no device is bound now, and the links are removed'
        return
    fi
    restore_devices
}

uptime() {
    read -r now_is _ </proc/uptime
    echo "${now_is%%.*}"
}

await_devices() {
    until=$(($(uptime) + patience))
    while read -r kind name selector _ <&3; do
        [ "$kind" = dax ] || continue
        while resolve "$selector"; [ $? -eq 1 ] && [ "$(uptime)" -lt "$until" ]; do
            udevadm settle --timeout=5 2>/dev/null
            sleep 1
        done
    done 3<<END
$table
END
}

restore_registers() {
    added=
    while read -r kind name start length as <&3; do
        [ "$kind" = mtrr ] || continue
        about="mtrr.$name: "
        look || return 1
        ! in_effect "$start" "$length" "$as" || continue
        vacate "$start" "$length" && mtrr_add "$start" "$length" "$as" || return 1
        [ -z "$wrote" ] || say "$wanted is written"
        added="$start $length $as
$added"
    done 3<<END
$table
END
    about=
}

# BASE SIZE: unbind what the table has of devices in it. The kernel looks at the MTRRs when it binds
# (pat_x_mtrr_type in mm/pat/memtype.c), and would go on mapping the memory as it was. What kmem has is RAM.
vacate() {
    while read -r what _ selector _ <&4; do
        [ "$what" = dax ] && resolve "$selector" && bound_to || continue
        case $driver in
            device_dax) from=dax_unbind ;;
            kmem) from=dax_reclaim ;;
            *) continue ;;
        esac
        memory_of "$device" || refuse "sysfs does not say where $device is" || return 1
        ! in_ranges $(($1)) $(($1 + $2)) || "$from" "$selector" || return 1
    done 4<<END
$table
END
}

roll_back() {
    while read -r start length as <&3; do
        [ -z "$start" ] || mtrr_remove "$start" "$length" "$as"
    done 3<<END
$added
END
}

drop_links() {
    while read -r kind name _ <&3; do
        [ "$kind" != dax ] || dax_unlink "$name"
    done 3<<END
$table
END
}

restore_devices() {
    missing=
    while read -r kind name selector align_to <&3; do
        [ "$kind" = dax ] || continue
        about="dax.$name: "
        restore_device "$name" "$selector" "$align_to" || {
            dax_unlink "$name"
            missing="$missing $name"
        }
    done 3<<END
$table
END
    about=
    [ -z "$missing" ] || refuse "not restored, and without a link:$missing"
}

# NAME SELECTOR ALIGN|-
restore_device() {
    locate "$2" && get "$device" align || return 1
    if [ "$driver" = device_dax ] && [ "$3" != - ] && [ $(($3)) -ne "$value" ]; then
        dax_unbind "$2" || return 1
    elif [ "$driver" = kmem ]; then # one that is built in takes the device at every boot
        dax_reclaim "$2" || return 1
    fi
    dax_bind "$2" "$3" && dax_link "$1" "$2"
}

not_cached() {
    ! memory_of "$device" || ! cached || refuse "$device is mapped write-back, although its MTRRs are uncachable"
}

# Whether any of the `ranges` is uncachable by the MTRRs, and the kernel is known to map it write-back.
cached() {
    [ -r "$pat" ] && [ -r /proc/mtrr ] && look || return 1
    while read -r start end; do
        [ -n "$start" ] && in_effect "$start" $((end - start)) uncachable && write_back "$start" "$end" && return 0
    done <<END
$ranges
END
    return 1
}

# START END: whether the kernel's list has a record of it as write-back.
write_back() {
    sed -n 's/^PAT: \[mem \(0x[0-9a-f]*\)-\(0x[0-9a-f]*\)\] write-back.*/\1 \2/p' "$pat" |
        while read -r low high; do
            [ $((low)) -ge "$2" ] || [ $((high)) -le "$1" ] || echo
        done | grep -q ''
}

main() {
    verb=${1-}
    [ $# -eq 0 ] || shift
    for word; do
        case $word in '' | *[!A-Za-z0-9_.:=+-]*) refuse "not a plain word: $word" || return 64 ;; esac
    done
    case $verb in
        mtrr-add) mtrr_add "$@" ;;
        mtrr-remove) mtrr_remove "$@" ;;
        dax-bind) dax_bind "$@" ;;
        dax-unbind) dax_unbind "$@" ;;
        dax-reclaim) dax_reclaim "$@" ;;
        dax-link) dax_link "$@" ;;
        dax-unlink) dax_unlink "$@" ;;
        dax-check) dax_check "$@" ;;
        restore) restore ;;
        *)
            say "not a verb: $verb"
            return 64
            ;;
    esac
}

main "$@"
