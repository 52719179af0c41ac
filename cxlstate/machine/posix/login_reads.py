"""How we came in, found out on the machine itself. Pure: shell functions for the script of `read_script`.

sudo(8) drops SSH_CONNECTION, so the processes above ours are asked, up to the one that sshd started.
"""

from __future__ import annotations

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
    printf 'login user %s\nlogin client %s\n' "$user" "$1"
    timeout -k 5 10 sshd -T -C "user=$user,host=$1,addr=$1,laddr=$3,lport=$4"
}
"""
