"""How we came in, and what lets a user in, found out on the machine itself. Pure.

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
    timeout -k 5 10 sshd -T -C "user=$user,host=$1,addr=$1,laddr=$3,lport=$4"
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
        fi
    done
    echo content
    if [ -f "$path" ] && [ ! -L "$path" ]; then head -c 1048577 -- "$path"; fi
}
"""


def question(read: SshLogin | AuthorizedKeys) -> str:
    """The function that answers a read, with its operand."""
    match read:
        case SshLogin():
            return "ssh_login"
        case AuthorizedKeys(user=user):
            return f"authorized_keys {quote(user)}"
