"""Effects of a guest's first boot, as scripts. Pure."""

from __future__ import annotations

from base64 import encodebytes
from typing import Final

from cxlstate.core.first_boot import AwaitFirstBoot, WriteSeed
from cxlstate.formats import cloud_init, password, seed_iso
from cxlstate.machine.outcome import Entry
from cxlstate.machine.posix.effects import FILES, script, to_its_end

# Exit status 2 of 23.4 and later: done, with errors that it could go on from (cmd/status.py).
AWAIT: Final = "cloud-init status --wait --long; code=$?; [ $code -eq 0 ] || [ $code -eq 2 ]"


def write_seed(state: str, effect: WriteSeed, entry: Entry) -> bytes:
    """Made here: what leaves this computer of a password is its hash. No earlier seed is kept."""
    image = seed_iso.image(cloud_init.files(effect.boot, password.sha512_crypt))
    return script(
        state,
        entry,
        {"path": effect.path, "replaces": "yes" if effect.replaces else ""},
        effect.journalled(),
        f"""{FILES}
begin
umask 077
resolve; announce
[ -n "$replaces" ] || [ ! -e "$target" ] || finish stale 0
[ ! -e "$target" ] || [ -f "$target" ] || fail "$target is not a regular file"
(set -C; base64 -d >"$new") <<'END' || fail
{encodebytes(image).decode("ascii")}END
chmod 0600 -- "$new" && sync -- "$new" && mv -fT -- "$new" "$target" && sync -- "$folder" || fail
finish done 0
""",
    )


def await_first_boot(state: str, effect: AwaitFirstBoot, entry: Entry) -> bytes:
    """It waits by itself for as long as cloud-init is at work."""
    body = to_its_end(("sh", "-c", AWAIT), (), effect.timeout)
    return script(state, entry, {}, effect.journalled(), body)
