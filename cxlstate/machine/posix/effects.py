"""Effects to POSIX sh scripts, and what those report to outcomes. Pure.

A script runs under the agent, with the lock held, nothing on standard input, and what it prints is
sent back whole. Its first line is `<result> <status>`; the last 64 KiB of what was said follow.

Each step leaves the machine so that stopping right after it is safe: what a file held is in the
store before it changes, the new content is on disk under a name of its own before it takes the
file's place, and that name is on disk (`leftover`) before there is anything to clean up.
"""

from __future__ import annotations

import json
from base64 import encodebytes
from collections.abc import Mapping
from hashlib import sha256

from cxlstate.core.action import Generate, Reboot, RemoveFile, Run, Step, WriteFile
from cxlstate.core.read import MEBIBYTE
from cxlstate.formats import restore
from cxlstate.formats.sh import quote
from cxlstate.machine.outcome import Entry, Outcome, Result
from cxlstate.machine.posix.frames import number

GENERATED = "generated"
"""First word of a report that asks for a judgement: its size, what was said, then the file."""

_STATUS, _SAID = 255, 65536  # the highest exit status; bytes of what was said, as the scripts send it

LOG = 4 * MEBIBYTE
"""Bytes of what a program said that its log keeps: the last of it."""

# `clear` is also the agent's: it removes the half-made file of an effect that was stopped. The
# pattern keeps it from taking anything else, should the note be torn.
CLEAR = r"""
clear() {
    if [ -f "$tmp/leftover" ]; then
        new=$(cat "$tmp/leftover"; echo x); new=${new%x}
        case $new in /.*.cxlstate | /*/.*.cxlstate) rm -f -- "$new".*; rm -rf -- "$new" ;; esac
        rm -f "$tmp/leftover"
    fi
}
"""

_PRELUDE = (
    CLEAR
    + r"""
rm -f "$tmp/script"  # the shell has it open, and there may be a secret in it
said=$tmp/said
: >"$said"
exec 2>>"$said"
log() {
    [ ! -e "$journal" ] || [ -z "$(tail -c 1 "$journal")" ] || echo >>"$journal"
    printf '{"at":"%s",%s}\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" >>"$journal" && sync "$journal"
}
begin() { log "\"event\":\"begin\",$entry" || finish failed 1; }
finish() {
    clear
    [ -z "${secret-}" ] || before=
    log "\"event\":\"$1\",\"status\":$2,\"before\":\"${before-}\",$entry" || set -- failed 1
    printf '%s %s\n' "$1" "$2"
    tail -c 65536 "$said"
    exit 0
}
fail() { [ $# -eq 0 ] || printf '%s\n' "$*" >&2; finish failed 1; }
"""
)

# `path` → `target` (links followed), `folder`, `new` (the name to write under), `before` (SHA-256,
# empty: absent). `keep` stores the old content under that hash, unless it is `secret`.
FILES = r"""
resolve() {
    target=$(readlink -mn -- "$path"; echo x); target=${target%x}
    folder=${target%/*}; folder=${folder:-/}
    new=${folder%/}/.${target##*/}.cxlstate
}
keep() {
    before=
    if [ ! -e "$target" ] && [ ! -L "$target" ]; then return 0; fi
    [ -f "$target" ] || fail "$target is not a regular file"
    if [ -n "${secret-}" ]; then
        before=$(sha256sum <"$target") || fail
        before=${before%% *}
        return 0
    fi
    cp -- "$target" "$tmp/old" || fail
    before=$(sha256sum <"$tmp/old") || fail
    before=${before%% *}
    [ "$before" = "$expected" ] || return 0
    [ -e "$store/$before" ] || { sync "$tmp/old" && mv "$tmp/old" "$store/$before" && sync "$store"; } || fail
}
compare() { [ "$before" = "$expected" ] || finish stale 0; }
announce() {
    [ -d "$folder" ] || { (umask 022; mkdir -p -- "$folder") && sync -f -- "$folder"; } || fail
    printf %s "$new" >"$tmp/leftover" && sync "$tmp/leftover" "$tmp" || fail
    rm -f -- "$new" || fail
}
replace() {
    if [ -n "$before" ]; then
        cp --attributes-only --preserve=mode,ownership -- "$target" "$new" || fail
        cp --attributes-only --preserve=xattr -- "$target" "$new" 2>/dev/null
        cmp -s -- "$target" "$store/$before" || finish stale 0
    else
        [ -z "$mode" ] || chmod "$mode" -- "$new" || fail
        [ ! -e "$target" ] || finish stale 0
    fi
    sync -- "$new" && mv -fT -- "$new" "$target" && sync -- "$folder" || fail
    case $target in /boot/*) settle_boot ;; esac
}
# A boot loader reads a file system without its journal. What was synced may be only there for a
# while, and the blocks of the old file given to another: GRUB would read rubbish after a power cut.
# A freeze empties the journal. Whatever becomes of this script, the keeper ends the freeze.
settle_boot() {
    command -v fsfreeze >/dev/null || return 0
    sync -f -- "$folder"
    (sleep 10; fsfreeze --unfreeze "$folder") </dev/null >/dev/null 2>&1 9>&- &
    keeper=$!
    if fsfreeze --freeze "$folder" 2>/dev/null; then
        fsfreeze --unfreeze "$folder" || return 0  # then the keeper is needed
    fi
    kill "$keeper" 2>/dev/null
}
"""


def write_file(state: str, effect: WriteFile, entry: Entry) -> bytes:
    """Store what is there, write beside it, put in place."""
    return script(
        state,
        entry,
        {"path": effect.path, "expected": effect.expected or "", "mode": f"{effect.mode:o}"},
        effect.journalled(),
        f"""{FILES}
begin
resolve; keep; compare; announce
base64 -d >"$tmp/content" <<'END' || fail
{encodebytes(effect.content).decode("ascii")}END
(set -C; cat "$tmp/content" >"$new") || fail
replace
finish done 0
""",
    )


def remove_file(state: str, effect: RemoveFile, entry: Entry) -> bytes:
    """Store what is there and remove it: of a link, the link."""
    return script(
        state,
        entry,
        {"path": effect.path, "expected": effect.expects, "secret": "1" if effect.secret else ""},
        effect.journalled(),
        f"""{FILES}
begin
resolve; keep; compare
rm -- "$path" || fail
folder=${{path%/*}}; sync -- "${{folder:-/}}" || fail
finish done 0
""",
    )


# What is said goes to the log as it comes, for who follows it; in the end it is cut.
_LOGGED = """mkdir -p -- "${kept%/*}" && : >"$kept" || fail
said=$kept
exec 2>>"$said"
"""
_CUT = f"""if [ "$(wc -c <"$kept")" -gt {LOG} ]; then
    tail -c {LOG} "$kept" >"$tmp/log" && mv "$tmp/log" "$kept"
fi
"""


def run(state: str, effect: Run, entry: Entry) -> bytes:
    """Run a program, its output into a file, so that a reader who has left does not stop it."""
    first = '[ -z "$unless" ] || [ ! -e "$unless" ] || finish stale 0\n'
    first, last = (first + _LOGGED, _CUT) if effect.log else (first, "")
    return script(
        state,
        entry,
        {"unless": effect.unless, "kept": effect.log},
        effect.journalled(),
        to_its_end((*effect.argv, *effect.operands), effect.environment, effect.timeout, first, last),
    )


def step(state: str, effect: Step, entry: Entry) -> bytes:
    """Run a step of the script that also runs at boot. The journal has its words, not the script."""
    verbs = restore.program(effect.fragment.text)
    return script(
        state,
        entry,
        {},
        effect.journalled(),
        to_its_end(("sh", "-c", verbs, "cxlstate", *effect.words), (), effect.timeout),
    )


def to_its_end(
    argv: tuple[str, ...],
    environment: tuple[tuple[str, str], ...],
    timeout: int,
    first: str = "",
    last: str = "",
) -> str:
    """The part of a script that runs a program, until it ends or its time is up."""
    return f"""begin
{first}{program(argv, environment, timeout)}
{last}if [ $status -eq 0 ]; then finish done 0; else finish failed $status; fi
"""


def generate(state: str, effect: Generate, entry: Entry) -> bytes:
    """Let the program write beside the target, and send back what it wrote."""
    return script(
        state,
        entry,
        {"path": effect.path, "expected": effect.expected or "", "mode": ""},
        effect.journalled(),
        f"""{FILES}
begin
resolve; keep; compare; announce
{program(effect.argv, (), effect.timeout, more='"$new"')}
[ $status -eq 0 ] || finish failed $status
[ -f "$new" ] || fail 'it wrote no file'
tail -c 65536 "$said" >"$tmp/tail"
echo "{GENERATED} $(wc -c <"$tmp/tail")"
cat "$tmp/tail" "$new"
exit 0
""",
    )


def settle(state: str, effect: Generate, entry: Entry, content: bytes, judged: Outcome | None) -> bytes:
    """The second half of `generate`: put in place what was judged good, drop what was not."""
    seen = sha256(content).hexdigest()
    end = f"finish {judged.result.value} {judged.status}" if judged else "replace; finish done 0"
    return script(
        state,
        entry,
        {"path": effect.path, "expected": effect.expected or "", "mode": "", "seen": seen},
        effect.journalled() | {"after": seen},
        f"""{FILES}
resolve; keep; compare
made=$(sha256sum <"$new") && [ "${{made%% *}}" = "$seen" ] || fail 'the generated file has changed'
{end}
""",
    )


def record(state: str, lines: Mapping[str, str | None]) -> bytes:
    """Every record in place, or forgotten, each as a whole."""
    return script(
        state,
        None,
        {},
        {"effect": "record"},
        "".join(_one_record(name, line) for name, line in sorted(lines.items()))
        + 'sync "$applied" || fail\nprintf "done 0\\n"\n',
    )


def _one_record(name: str, line: str | None) -> str:
    if line is None:
        return f'rm -f "$applied/"{quote(name)} || fail\n'
    return (
        f'printf "%s\\n" {quote(line)} >"$tmp/record" && sync "$tmp/record" '
        f'&& mv "$tmp/record" "$applied/"{quote(name)} || fail\n'
    )


def reboot(state: str, entry: Entry) -> bytes:
    """Journal it, empty the write cache, go down to the firmware.

    From version 254 on systemctl takes kexec or soft-reboot where they are prepared, past the boot loader.
    """
    return script(
        state,
        entry,
        {},
        Reboot().journalled(),
        """begin
sync
SYSTEMCTL_SKIP_AUTO_KEXEC=1 SYSTEMCTL_SKIP_AUTO_SOFT_REBOOT=1 systemctl reboot >>"$said" || fail
printf 'done 0\\n'
""",
    )


BOOT_ID = b"cat /proc/sys/kernel/random/boot_id\n"


def report(output: bytes) -> Outcome:
    """What a script reported. ValueError: it did not get as far."""
    header, _, said = output.partition(b"\n")
    result, status = header.decode("ascii").split(" ")
    return Outcome(Result(result), number(status, _STATUS), said[-_SAID:].decode("utf-8", "replace"))


def generated(output: bytes) -> tuple[str, bytes] | None:
    """What the program said, and what it wrote; None: it did not come to that. ValueError: neither."""
    header, _, rest = output.partition(b"\n")
    word, _, size = header.partition(b" ")
    if word.decode("ascii") != GENERATED:
        return None
    said = number(size.decode("ascii"), len(rest))
    return rest[:said].decode("utf-8", "replace"), rest[said:]


def program(
    argv: tuple[str, ...], environment: tuple[tuple[str, str], ...], timeout: int, more: str = ""
) -> str:
    """Run it as an administrator's shell would: → `status`.

    It does not inherit the lock: a daemon that it may leave behind must not keep it, and the script
    that waits for it does.
    """
    words = " ".join(map(quote, (*(f"{key}={value}" for key, value in environment), *_timed(argv, timeout))))
    return f"""(umask 022; exec env {words} {more}) </dev/null >>"$said" 2>&1 9>&-
status=$?
[ $status -ne 124 ] || echo 'it was stopped: not done within {timeout} s' >&2"""


def _timed(argv: tuple[str, ...], timeout: int) -> tuple[str, ...]:
    return ("timeout", "-k", "30", str(timeout), *argv)


def script(
    state: str, entry: Entry | None, variables: Mapping[str, str], details: dict[str, object], body: str
) -> bytes:
    """`variables` are set in the shell; entry and `details` are what the journal says."""
    fields = details if entry is None else _fields(entry) | details
    places = {
        "tmp": f"{state}/tmp",  # noqa: S108  # a closed folder of our own
        "store": f"{state}/blobs",
        "applied": f"{state}/applied",
        "journal": f"{state}/journal.jsonl",
        "entry": json.dumps(fields, separators=(",", ":"))[1:-1],
    }
    settings = "".join(f"{name}={quote(value)}\n" for name, value in {**places, **variables}.items())
    return (settings + _PRELUDE + body).encode("utf-8", "surrogateescape")


def _fields(entry: Entry) -> dict[str, object]:
    return {"run": entry.run, "addresses": entry.addresses, "does": entry.does, "risk": entry.risk}
