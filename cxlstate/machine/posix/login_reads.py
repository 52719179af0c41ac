"""How we came in, what sshd reads, and what lets a user in, found out on the machine itself. Pure.

Shell functions for the script of `read_script`, and the words to call them with.

sudo(8) drops SSH_CONNECTION, so the processes above ours are asked, up to the one that sshd started.
"""

from __future__ import annotations

from cxlstate.core.read import AuthorizedKeys, SshLogin
from cxlstate.formats.sh import quote

FUNCTIONS = r"""
ssh_login() {
    pid=$$; connection=; user=
    while [ "$pid" -gt 1 ] && [ -z "$connection" ]; do
        { words=$(tr '\000\012' '\012 ' <"/proc/$pid/environ"); } 2>/dev/null || words=
        connection=$(printf '%s\n' "$words" | sed -n 's/^SSH_CONNECTION=//p' | head -n 1)
        user=$(printf '%s\n' "$words" | sed -n 's/^LOGNAME=//p' | head -n 1)
        { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || break
        set -- ${stat##*) }
        pid=$2
    done
    if [ -z "$connection" ]; then
        printf 'login user %s\n' "${SUDO_USER:-$(id -un)}"
        return
    fi
    set -- $connection
    printf 'login user %s\nlogin client %s\nlogin groups %s\n' "$user" "$1" "$(id -Gn "$user")"
    printf 'login server %s %s\n' "$3" "$4"
    in_force=$(timeout -k 5 10 sshd -T -C "user=$user,host=$1,addr=$1,laddr=$3,lport=$4") || return
    ! keyless "$user" || echo 'login keys none'
    printf '%s\n' "$in_force"
}
keyless() {
    line=$(getent passwd "$1") || return 1
    number=${line#*:*:} number=${number%%:*} line=${line%:*} home=${line##*:}
    names=$(printf '%s\n' "$in_force" | sed -n 's/^authorizedkeysfile //p')
    [ -n "$names" ] || return 1
    set -f
    for name in $names; do
        name=$(printf '%s\n' "$name" |
            sed -e 's/%%/\n/g' -e "s|%u|$1|g" -e "s|%U|$number|g" -e "s|%h|$home|g" | tr '\n' %)
        name=${name%%%}
        case $name in /*) ;; *) name=$home/$name ;; esac
        gone "$name" || { set +f; return 1; }
    done
    set +f
}
gone() {
    case $(stat -L -- "$1" 2>&1) in
        *': No such file or directory' | *': Not a directory') ;;
        *) return 1 ;;
    esac
}
included() {
    index=$1 limit=$2 base=${3%/*} todo=$3 seen=$newline
    while [ -n "$todo" ]; do
        file=${todo%%"$newline"*}
        case $todo in *"$newline"*) todo=${todo#*"$newline"} ;; *) todo= ;; esac
        case $seen in *"$newline$file$newline"*) continue ;; esac
        [ -f "$file" ] || continue
        seen=$seen$file$newline
        { words=$(tr -d '\r"' <"$file" | sed -n -e 's/[[:space:]]#.*//' \
            -e 's/^[[:space:]]*[Ii][Nn][Cc][Ll][Uu][Dd][Ee][[:space:]=][[:space:]=]*//p'); } 2>/dev/null
        set -f
        for pattern in $words; do
            case $pattern in /*) ;; *) pattern=$base/$pattern ;; esac
            set +f
            for found in $pattern; do todo=${todo:+$todo$newline}$found; done
            set -f
        done
        set +f
    done
    IFS=$newline; set -f
    set -- "$index" "$limit" $seen
    unset IFS; set +f
    contents "$@"
}
authorized_keys() {
    [ "$(id -u)" -eq 0 ] || { echo 'Permission denied: only root can see it' >&2; return 1; }
    line=$(getent passwd "$1") || return
    line=${line%:*}
    home=$(readlink -m -- "${line##*:}") || return
    printf 'home %s\n' "$home"
    for path in "$home" "$home/.ssh" "$home/.ssh/authorized_keys"; do
        if [ -e "$path" ] || [ -L "$path" ]; then
            stat --format='%f %s %Y %U:%G:%n' -- "$path" || return
            [ ! -L "$path" ] || break
        elif ! gone "$path"; then
            stat -- "$path"
            return 1
        fi
    done
    echo content
    if [ -f "$path" ] && [ ! -L "$path" ]; then head -c 1048577 -- "$path"; fi
}
"""


def question(read: SshLogin | AuthorizedKeys) -> str:
    """The function that answers a read, with its operand; `included` answers by itself."""
    match read:
        case SshLogin():
            return "ssh_login"
        case AuthorizedKeys(user=user):
            return f"authorized_keys {quote(user)}"
