# shellcheck shell=sh
# Devices, by memory. SELECTOR is range=0xSTART+0xSIZE:…, node=N or name=daxX.Y; ALIGN is in hex, - for any:
#
#   dax_bind SELECTOR ALIGN    to device_dax, at an alignment
#   dax_unbind SELECTOR        refuses while a process holds the device
#   dax_reclaim SELECTOR       from kmem: takes every block of it offline, and unbinds it
#   dax_link NAME SELECTOR     /dev/cxlstate/NAME -> ../daxX.Y, replaced in one step; refuses memory that is
#                              uncachable by its MTRRs and known to be mapped write-back
#   dax_unlink NAME
#   dax_check SELECTOR         maps the device shared and reads, with python3 where there is one; refuses what
#                              dax_link refuses
#   dax NAME SELECTOR ALIGN

verbs="$verbs dax_bind dax_unbind dax_reclaim dax_link dax_unlink dax_check"
links=$root/dev/cxlstate
devices=$root/sys/bus/dax/devices
drivers=$root/sys/bus/dax/drivers
memory=$root/sys/devices/system/memory
pat=$root/sys/kernel/debug/x86/pat_memtype_list
noted=$root/run/cxlstate/write-back # ranges that were mapped so when they were bound, under uncachable MTRRs
patience=60 # seconds for devices to come

# DEVICE ATTRIBUTE
dax_get() { number "$devices/$1/$2"; }

# DEVICE: sets `ranges`, lines of `START END` by address, with END behind it and neighbours as one, and
# `written`, the same as a selector has it. A device can have several (drivers/dax/bus.c); before Linux
# 5.10 it has one, and no mapping*.
dax_memory_of() {
    found=
    for mapping in "$devices/$1"/mapping[0-9]*; do
        [ -e "$mapping/start" ] || continue
        number "$mapping/start" && at=$value && number "$mapping/end" || return 1
        found="$found$at $((value + 1))
"
    done
    if [ -z "$found" ]; then
        dax_get "$1" resource && at=$value && dax_get "$1" size || return 1
        found="$at $((at + value))"
    fi
    ranges='' written='' at='' to=
    case $found in *"
"*"
"*) found=$(printf %s "$found" | sort -n) ;; esac
    while read -r low high; do
        if [ -n "$low" ] && [ "$low" = "$to" ]; then
            to=$high
            continue
        fi
        [ -z "$at" ] || dax_add_range
        at=$low to=$high
    done <<END
$found

END
}

dax_add_range() {
    ranges="$ranges$at $to
" written=${written:+$written:}$(block "$at" $((to - at)))
}

# START END: whether any of the `ranges` has a byte in it.
dax_in_ranges() {
    while read -r low high; do
        [ -n "$low" ] && [ "$low" -lt "$2" ] && [ "$1" -lt "$high" ] && return 0
    done <<END
$ranges
END
    return 1
}

# DEVICE SELECTOR
dax_matches() {
    dax_get "$1" size && [ "$value" -gt 0 ] || return 1
    case $2 in
        name=*) [ "$1" = "${2#name=}" ] ;;
        node=*) dax_get "$1" target_node && [ "$value" = "${2#node=}" ] ;;
        range=*) dax_memory_of "$1" && [ "$written" = "${2#range=}" ] ;;
        *) return 1 ;;
    esac
}

# SELECTOR: sets `device`; 1: there is none, 2: there are several.
dax_resolve() {
    device=
    for path in "$devices"/*; do
        dax_matches "${path##*/}" "$1" || continue
        [ -z "$device" ] || return 2
        device=${path##*/}
    done
    [ -n "$device" ]
}

# SELECTOR: sets `device` and `driver`.
dax_locate() {
    dax_resolve "$1"
    case $? in
        1) refuse "no dax device is $1" || return 1 ;;
        2) refuse "more than one dax device is $1" || return 1 ;;
    esac
    dax_bound_to
}

dax_bound_to() {
    driver=$(readlink "$devices/$device/driver")
    driver=${driver##*/}
}

# Processes that have `device` open or mapped, by its file name alone, since libvirt gives each QEMU a
# /dev of its own. Those that end meanwhile are no trouble; everything else that is complained of is.
dax_holders() {
    name=$(printf %s "$device" | sed 's/\./[.]/g')
    { trouble=$({
        find "$root"/proc/[0-9]*/fd -maxdepth 1 -xtype c \( -lname "*/$name" -o -lname "*/$name (deleted)" \)
        grep -lE "/$name( \(deleted\))?\$" "$root"/proc/[0-9]*/maps
    } 2>&1 >&5); } 5>&1
    ! printf '%s\n' "$trouble" | grep -v -e ': No such file or directory$' -e ': No such process$' -e '^$' >&2
}

# Refuse while anybody holds `device`.
dax_idle() {
    [ "$(id -u)" -eq 0 ] && found=$(dax_holders) || refuse "could not tell who holds $device" || return 1
    for pid in $(printf '%s\n' "$found" | sed -n 's,^.*/proc/\([0-9]*\)/.*,\1,p' | sort -un); do
        { command=$(tr '\000-\037\177' '[ *]' <"$root/proc/$pid/cmdline" | cut -c 1-200); } 2>/dev/null || continue
        refuse "$device is held by process $pid: $command" || return 1
    done
}

# SELECTOR ALIGN|-
dax_bind() {
    dax_locate "$1" && dax_get "$device" align || return 1
    align=$value
    [ "$2" = - ] || align=$(($2))
    case $driver in
        device_dax)
            [ "$align" -eq "$value" ] || refuse "$device is in use with alignment $value, not $align" || return 1
            ;;
        '')
            dax_not_ram || return 1
            [ "$align" -eq "$value" ] || tell "$align" "$devices/$device/align" ||
                refuse "the kernel refuses alignment $align for $device: ${complaint##*: }" || return 1
            dax_attach || return 1
            ;;
        *) refuse "$device belongs to $driver" || return 1 ;;
    esac
    dax_node
}

# Memory that kmem could not give back stays System RAM although kmem is unbound (drivers/dax/kmem.c).
dax_not_ram() (
    dax_memory_of "$device" || refuse "sysfs does not say where $device is" || return 1
    dax_ranges_without_ram || refuse "$device cannot be bound before the next reboot"
)

dax_ranges_without_ram() {
    while read -r start end <&4; do
        [ -z "$start" ] || without_ram "$start" $((end - start)) || return 1
    done 4<<END
$ranges
END
}

# A write to new_id binds too, but says nothing of a failure; one to bind does.
dax_attach() {
    [ -d "$drivers/device_dax" ] || modprobe device_dax || refuse 'there is no driver device_dax' || return 1
    tell "$device" "$drivers/device_dax/new_id"
    dax_bound_to
    [ -n "$driver" ] || tell "$device" "$drivers/device_dax/bind"
    dax_bound_to
    [ "$driver" = device_dax ] || refuse "the kernel does not bind $device: ${complaint##*: }" || return 1
    say "$device is bound"
    dax_note
}

# Keep what the kernel made of `device` when it was bound: a second time would not come out otherwise.
# A plan knows by it that the device was not just bound before its MTRRs were written.
dax_note() {
    dax_memory_of "$device" && dax_cached || return 0
    grep -qxF -- "$written" "$noted" 2>/dev/null ||
        { mkdir -p "${noted%/*}" && printf '%s\n' "$written" >>"$noted"; } ||
        say "could not note in ${noted#"$root"} how $device is mapped"
}

# udev may take a moment.
dax_node() {
    [ -c "$root/dev/$device" ] || udevadm settle --timeout=10 2>/dev/null
    [ -c "$root/dev/$device" ] || refuse "/dev/$device does not come"
}

# SELECTOR. Its name goes too, or else no other driver would ever take it (dax_bus_match).
dax_unbind() {
    dax_locate "$1" || return 1
    case $driver in
        '') return 0 ;;
        device_dax) dax_idle && dax_detach ;;
        *) refuse "$device belongs to $driver" ;;
    esac
}

dax_detach() {
    from=$driver
    tell "$device" "$drivers/$from/remove_id"
    tell "$device" "$drivers/$from/unbind"
    dax_bound_to
    [ -z "$driver" ] || refuse "$device stays bound to $driver: ${complaint##*: }" || return 1
    say "$device is taken from $from"
}

# SELECTOR
dax_reclaim() {
    dax_locate "$1" || return 1
    [ "$driver" = kmem ] || refuse "$device belongs to ${driver:-no driver}, and not to kmem" || return 1
    dax_memory_of "$device" || refuse "sysfs does not say where $device is" || return 1
    taken=
    while read -r start end <&4; do
        [ -z "$start" ] || dax_offline "$start" "$end" || {
            dax_online
            return 1
        }
    done 4<<END
$ranges
END
    dax_detach || return 1
    dax_ranges_without_ram || refuse 'the kernel lets go of it at the next reboot'
}

# START END: the whole blocks in it, the last first. Those it took are in `taken`, with their zone.
dax_offline() {
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

dax_online() {
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
    dax_locate "$2" && dax_node || return 1
    [ "$driver" = device_dax ] || refuse "$device is not bound, and gets no link" || return 1
    dax_not_cached || return 1
    [ "$(readlink "$links/$1")" != "../$device" ] || return 0
    mkdir -p "$links" && rm -f "$links/.$1" && ln -s "../$device" "$links/.$1" && mv -T "$links/.$1" "$links/$1" ||
        refuse "could not make /dev/cxlstate/$1" || return 1
    say "/dev/cxlstate/$1 leads to $device"
}

# NAME
dax_unlink() { rm -f "$links/$1" "$links/.$1"; }

# SELECTOR
dax_check() {
    dax_locate "$1" || return 1
    [ "$driver" = device_dax ] || refuse "$device is not bound, and cannot be mapped" || return 1
    dax_not_cached && dax_get "$device" align && align=$value && dax_get "$device" size || return 1
    command -v python3 >/dev/null || {
        say 'not checked: python3 is not installed'
        return 0
    }
    timeout -k 5 60 python3 -ISB -c "$map_and_read" "$root/dev/$device" "$align" "$value" ||
        refuse "/dev/$device cannot be mapped and read"
}

dax_await() {
    until=$(($(uptime) + patience))
    while read -r name selector _ <&3; do
        [ -n "$name" ] || continue
        while dax_resolve "$selector"; [ $? -eq 1 ] && [ "$(uptime)" -lt "$until" ]; do
            udevadm settle --timeout=5 2>/dev/null
            sleep 1
        done
    done 3<<END
$(rows dax)
END
}

# BASE SIZE: unbind what the table has of devices in it. What kmem has is RAM.
dax_vacate() {
    while read -r _ selector _ <&4; do
        [ -n "$selector" ] && dax_resolve "$selector" && dax_bound_to || continue
        case $driver in
            device_dax) from=dax_unbind ;;
            kmem) from=dax_reclaim ;;
            *) continue ;;
        esac
        dax_memory_of "$device" || refuse "sysfs does not say where $device is" || return 1
        ! dax_in_ranges $(($1)) $(($1 + $2)) || "$from" "$selector" || return 1
    done 4<<END
$(rows dax)
END
}

dax_forgo() {
    while read -r name _ <&3; do
        [ -z "$name" ] || dax_unlink "$name"
    done 3<<END
$(rows dax)
END
    say 'no device is bound now, and the links are removed'
}

dax_restore() {
    missing=
    while read -r name selector align_to <&3; do
        [ -n "$name" ] || continue
        about="dax.$name: "
        dax_restore_one "$name" "$selector" "$align_to" || {
            dax_unlink "$name"
            missing="$missing $name"
        }
    done 3<<END
$(rows dax)
END
    about=
    [ -z "$missing" ] || refuse "not restored, and without a link:$missing"
}

# NAME SELECTOR ALIGN|-
dax_restore_one() {
    dax_locate "$2" && dax_get "$device" align || return 1
    if [ "$driver" = device_dax ] && [ "$3" != - ] && [ $(($3)) -ne "$value" ]; then
        dax_unbind "$2" || return 1
    elif [ "$driver" = kmem ]; then # one that is built in takes the device at every boot
        dax_reclaim "$2" || return 1
    fi
    dax_bind "$2" "$3" && dax_link "$1" "$2"
}

dax_not_cached() {
    ! dax_memory_of "$device" || ! dax_cached || refuse "$device is mapped write-back, although its MTRRs are uncachable"
}

# Whether any of the `ranges` is uncachable by the MTRRs, and the kernel is known to map it write-back.
dax_cached() {
    [ -r "$pat" ] && [ -r "$root/proc/mtrr" ] && look || return 1
    while read -r start end; do
        [ -n "$start" ] && in_effect "$start" $((end - start)) uncachable && dax_write_back "$start" "$end" && return 0
    done <<END
$ranges
END
    return 1
}

# START END: whether the kernel's list has a record of it as write-back.
dax_write_back() {
    sed -n 's/^PAT: \[mem \(0x[0-9a-f]*\)-\(0x[0-9a-f]*\)\] write-back.*/\1 \2/p' "$pat" |
        while read -r low high; do
            [ $((low)) -ge "$2" ] || [ $((high)) -le "$1" ] || echo
        done | grep -q ''
}
