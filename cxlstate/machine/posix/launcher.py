"""How a shell with as many rights as can be had is started. Nothing but a number is put into it.

The login shell of the user may be any, so that each is one `sh -c` with single-quoted words.
"""

from __future__ import annotations


def read(seconds: int) -> str:
    """Return the command that runs the script on standard input, as root if that can be had.

    It ends after `seconds` if it hangs; whoever waits for it is to give up earlier.

    Who it is the kernel says, without a process (proc_pid_status(5)).
    A refused `sudo -n` has not touched standard input, so the plain `sh` finds all of it; after one that
    ran, it finds nothing.
    """
    return (
        """sh -c 'while read -r key real uid rest && [ "$key" != Uid: ]; do :; done </proc/self/status; """
        f"""if [ "$uid" = 0 ]; then exec timeout {seconds:d} sh; fi; """
        f"""sudo -n timeout {seconds:d} sh 2>/dev/null || exec timeout {seconds:d} sh'"""
    )


NO_ROOT = "cxlstate: root is needed"

WRITE = (
    """sh -c 'if [ "$(id -u)" -eq 0 ]; then exec sh -c "$0"; fi; """
    f"""if sudo -n true; then exec sudo -n sh -c "$0"; fi; echo "{NO_ROOT}"' """
    """'IFS= read -r size && eval "$(head -c "$size")"'"""
)
"""Reads a line with a length, takes that many bytes and becomes them, as root or not at all.

`read` takes single bytes and `head -c` no more than asked, so that what follows on standard input
is left for the program that came.
"""

NO_HELPER = "virt-ssh-helper is not installed"

_LIBVIRT = (
    f"""sh -c 'command -v virt-ssh-helper >/dev/null || {{ echo "{NO_HELPER}" >&2; exit 127; }}; """
    """if [ "$(id -u)" -ne 0 ] && sudo -n true 2>/dev/null; then exec sudo -n virt-ssh-helper "$@"; fi; """
    """exec virt-ssh-helper "$@"' sh"""
)
"""Passes standard input and output on to the machine's libvirt: as root if that can be had, or else as
the user, whom libvirt lets in or not.

`virt-ssh-helper` comes with libvirt, knows where its sockets are, and ends with its input.
"""

LIBVIRT_READ = f"{_LIBVIRT} -r qemu:///system"
LIBVIRT_WRITE = f"{_LIBVIRT} qemu:///system"
