r"""Reads to one POSIX sh script, and its output to answers. Pure.

Everything in one go: each answer is what came, byte for byte, between marks of a random nonce that
only the script knows (no read sees it in an argument or in the environment):

    \n<nonce> name <index>\n<path>            the file of a pattern that what follows is about
    \n<nonce> out <index>\n<standard output>
    \n<nonce> err <index> <status>\n<standard error>
    \n<nonce> late <index>\n                   it took too long, and was given up
    \n<nonce> left <index>\n                   too many did: from this one on, none was tried
    \n<nonce> end\n

Nothing is written on the far side, temporary files included, and nothing is needed there but
`sh` (dash is enough), coreutils and /proc; findutils, grep and sed for who holds a device.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from cxlstate.core.read import (
    TIMED_OUT,
    Answer,
    Attributes,
    AuthorizedKeys,
    Command,
    File,
    Glob,
    Holders,
    Links,
    MapAndRead,
    Names,
    Read,
    SshLogin,
)
from cxlstate.formats.sh import quote
from cxlstate.machine import limits
from cxlstate.machine.posix import device_reads, login_reads
from cxlstate.machine.posix.frames import number

ScriptRead = (
    File | Glob | Attributes | Links | Names | Holders | MapAndRead | SshLogin | AuthorizedKeys | Command
)
"""What the script can ask: all but libvirt."""

R = TypeVar("R", bound=Read)

_STATUS = 255  # the highest that there is

LINE_LIMIT = 1 << 16
"""Longest first line of an attribute, in bytes."""

NO_FILE = "No such file or directory"
NO_FOLDER = "Not a directory"

# `look` finds the folders that a pattern passes over in silence because they cannot be read.
# `regular` also takes a link that leads nowhere: only `head` can tell whether its target is absent
# or just out of reach. `attribute` believes `read` only where it saw a newline, since the shell
# cannot tell the end of a file from an error.
_PRELUDE = r"""
LC_ALL=C
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL PATH
mark() { printf '\n%s %s\n' "$nonce" "$1"; }
ask() {
    index=$1; shift
    mark "out $index"
    { said=$("$@" </dev/null 2>&1 1>&3 3>&-); status=$?; } 3>&1
    mark "err $index $status"
    printf %s "$said"
}
look() { [ ! -d "$1" ] || { [ -r "$1" ] && [ -x "$1" ]; } || denied=$1; }
regular() { [ -f "$1" ] || { [ -L "$1" ] && [ ! -e "$1" ]; }; }
file() {
    if [ -e "$3" ] && [ ! -f "$3" ] && [ ! -d "$3" ]; then
        mark "out $1"
        mark "err $1 1"
        printf 'it is not a regular file'
    else
        ask "$1" head -c "$2" -- "$3"
    fi
}
content() {
    regular "$2" || return 0
    mark "name $1"
    printf %s "$2"
    ask "$1" head -c "$3" -- "$2"
}
attribute() {
    regular "$2" || return 0
    if { IFS= read -r line <"$2"; } 2>/dev/null; then
        printf '\n%s name %s\n%s\n%s out %s\n%s\n%s err %s 0\n' \
            "$nonce" "$1" "$2" "$nonce" "$1" "$line" "$nonce" "$1"
    else
        content "$@"
    fi
}
link() {
    [ -L "$2" ] || return 0
    mark "name $1"
    printf %s "$2"
    ask "$1" readlink -nv -- "$2"
}
name() {
    [ -e "$2" ] || [ -L "$2" ] || return 0
    printf '\n%s name %s\n%s\n%s out %s\n\n%s err %s 0\n' \
        "$nonce" "$1" "$2" "$nonce" "$1" "$nonce" "$1"
}
conclude() {
    if [ -n "$denied" ]; then
        mark "err $1 1"
        printf '%s: Permission denied' "$denied"
    elif [ -d "$2" ]; then
        mark "err $1 0"
    else
        ask "$1" ls -- "$2"
    fi
}
"""


def merge(reads: Collection[R]) -> dict[R, R | Command]:
    """Each read → what is asked for it: commands with equal words become one with all operands.

    A command without operands asks about everything, and stays by itself.
    """
    groups: defaultdict[tuple[str, ...], list[Command]] = defaultdict(list)
    for read in reads:
        if isinstance(read, Command) and read.operands:
            groups[read.argv].append(read)
    merged = {argv: _union(commands) for argv, commands in groups.items()}
    return {
        read: merged[read.argv] if isinstance(read, Command) and read.operands else read for read in reads
    }


def _union(commands: Sequence[Command]) -> Command:
    operands = sorted({operand for command in commands for operand in command.operands})
    longest = max(command.timeout for command in commands)
    return Command(commands[0].argv, tuple(operands), longest)


# All reads are done by one child, `work`, which says in a pipe at which one it is. A signal of `tick`
# ends the wait for it every few seconds: if it is where it was for too long, it is killed with all that
# is below it, and the next child goes on behind that read. A process in state D (a dead mount) dies
# when it can; nobody waits for it.
#
# The pipe is that of `: |`, opened for both directions (fifo(7)). Nobody reads what is not there: the
# word `tick` is written before.
_SUPERVISOR = r"""
tick() {
    trap 'kill "$nap"; exit 0' TERM
    while sleep "$pause" & nap=$!; do wait "$nap" && kill -USR1 "$me" || exit 0; done
}
progress() { echo tick >&9; while read -r line <&9 && [ "$line" != tick ]; do at=$line; done; }
end_all() {
    doomed=" $1 "; more=1
    while [ -n "$more" ]; do
        more=
        for stat in /proc/[0-9]*/stat; do
            { read -r line <"$stat"; } 2>/dev/null || continue
            pid=${line%% *}
            set -- ${line##*) }
            case $doomed in *" $pid "*) continue ;; *" $2 "*) doomed="$doomed$pid "; more=1 ;; esac
        done
    done
    kill -KILL $doomed 2>/dev/null
}
watch() {
    at=$from; was=; waited=0
    while :; do
        before=$ticks
        wait "$worker"
        [ $? -ne 127 ] && [ "$ticks" -ne "$before" ] || return
        progress
        if [ "$at" = "$was" ]; then waited=$((waited + 1)); else was=$at; waited=0; fi
        patience
        [ "$waited" -lt "$allowed" ] || { end_all "$worker"; return; }
    done
}
: | {
exec 9<>/proc/self/fd/0 </dev/null
read -r me line </proc/self/stat
ticks=0
trap 'ticks=$((ticks + 1))' USR1
tick >/dev/null 2>&1 9>&- &
ticker=$!
from=0; hung=0
while [ "$from" -lt "$count" ] && [ "$hung" -lt "$most" ]; do
    work "$from" &
    worker=$!
    watch
    progress
    from=$at
    if [ "$at" -lt "$count" ]; then mark "late $at"; hung=$((hung + 1)); from=$((at + 1)); fi
done
kill "$ticker" 2>/dev/null
[ "$from" -ge "$count" ] || mark "left $from"
mark end
}
exit 0
"""


def script(nonce: str, reads: Sequence[ScriptRead]) -> bytes:
    """The script that asks for all of `reads`, which are numbered by their place."""
    numbers = {"count": len(reads), "most": limits.HUNG, "pause": limits.TICK}
    settings = "".join(f"{name}={value}\n" for name, value in numbers.items())
    parts = [f"nonce={quote(nonce)}\n{settings}{_PRELUDE}{_patience(reads)}".encode()]
    if any(isinstance(read, Holders | MapAndRead) for read in reads):
        parts.append(device_reads.FUNCTIONS.encode())
    if any(isinstance(read, SshLogin | AuthorizedKeys) for read in reads):
        parts.append(login_reads.FUNCTIONS.encode())
    parts.append(b"work() {\n")
    for index, read in enumerate(reads):
        try:
            question = _question(index, read).encode("utf-8", "surrogateescape")
        except ValueError as cannot_be_said:
            question = f"mark 'err {index} 1'; printf %s {quote(str(cannot_be_said))}\n".encode()
        parts.append(b'[ "$1" -gt %d ] || { echo %d >&9\n%b}\n' % (index, index, question))
    parts.append(f"echo {len(reads)} >&9\n}}\n{_SUPERVISOR}".encode())
    return b"".join(parts)


def limit(read: ScriptRead) -> int:
    """Seconds that a read may take. `timeout` ends a command, and kills it 5 s later."""
    match read:
        case Command(timeout=timeout):
            return timeout + 5
        case Holders() | MapAndRead() | SshLogin() | AuthorizedKeys():
            return limits.LONG_READ
    return limits.READ


def _patience(reads: Sequence[ScriptRead]) -> str:
    """How many ticks the read at which `work` is may take."""
    longer: defaultdict[int, list[str]] = defaultdict(list)
    for index, read in enumerate(reads):
        if limit(read) > limits.READ:
            longer[-(-limit(read) // limits.TICK)].append(str(index))
    cases = "".join(f"{'|'.join(indices)}) allowed={ticks} ;;\n" for ticks, indices in longer.items())
    return f"patience() {{\ncase $at in\n{cases}*) allowed={-(-limits.READ // limits.TICK)} ;;\nesac\n}}\n"


def _question(index: int, read: ScriptRead) -> str:
    match read:
        case File(path=path, limit=limit):
            return f"file {index} {limit + 1} {quote(path)}\n"
        case Glob(pattern=pattern, limit=limit):
            return _each(index, pattern, f'content {index} "$found" {limit + 1}')
        case Attributes(pattern=pattern):
            return _each(index, pattern, f'attribute {index} "$found" {LINE_LIMIT + 1}')
        case Links(pattern=pattern):
            return _each(index, pattern, f'link {index} "$found"')
        case Names(pattern=pattern):
            return _each(index, pattern, f'name {index} "$found"')
        case SshLogin() | AuthorizedKeys():
            return f"ask {index} {login_reads.question(read)}\n"
        case Holders() | MapAndRead():
            return f"ask {index} {device_reads.question(read)}\n"
        case Command(argv=argv, operands=operands, timeout=timeout):
            words = " ".join(map(quote, (*argv, *operands)))
            return f"ask {index} timeout -k 5 {timeout} {words}\n"


def _each(index: int, pattern: str, act: str) -> str:
    fixed, *passed = _folders(pattern)
    looks = "".join(f'for found in {_word(folder)}; do look "$found"; done\n' for folder in (fixed, *passed))
    return (
        f"denied=\n{looks}for found in {_word(pattern)}; do {act}; done\nconclude {index} {_literal(fixed)}\n"
    )


_WILD = re.compile(r"[*?]|\[!?[A-Za-z0-9_-]+\]")


def _folders(pattern: str) -> list[str]:
    """The folders whose entries a pattern goes through: the fixed one first, then patterns.

    `/sys/bus/*/devices/*` → `/sys/bus`, `/sys/bus/*`, `/sys/bus/*/devices`.
    """
    steps = pattern.split("/")
    wild = next((at for at, step in enumerate(steps) if _WILD.search(step)), len(steps) - 1)
    return ["/".join(steps[:at]) or "/" for at in range(wild, len(steps))]


def _word(pattern: str) -> str:
    """A shell word in which the wildcards work and everything else means itself."""
    word, at = "", 0
    for wild in _WILD.finditer(pattern):
        word += _literal(pattern[at : wild.start()]) + wild.group()
        at = wild.end()
    return word + _literal(pattern[at:])


def _literal(text: str) -> str:
    return quote(text) if text else ""


def parse(nonce: str, output: bytes, reads: Sequence[ScriptRead]) -> dict[ScriptRead, Answer]:
    """The answers in what the script sent. ValueError: it did not run to its end, or something else did."""
    whole: dict[int, Answer] = {}
    members: defaultdict[int, dict[str, Answer]] = defaultdict(dict)
    name: str | None = None
    stdout = b""
    ended = False
    for header, payload in _pieces(nonce, output):
        match header:
            case ["name", _]:
                name = payload.decode("utf-8", "surrogateescape")
            case ["out", _]:
                stdout = payload
            case ["err", index, status]:
                answer = Answer(number(status, _STATUS), stdout, payload.decode("utf-8", "replace"))
                at = number(index, len(reads) - 1)
                if name is None:
                    whole[at] = answer
                else:
                    members[at][name] = answer
                name, stdout = None, b""
            case ["late", index]:
                at = number(index, len(reads) - 1)
                whole[at] = Answer(TIMED_OUT, b"", f"no answer within {limit(reads[at])} s")
                members.pop(at, None)
                name, stdout = None, b""
            case ["left", index]:
                untried = range(number(index, len(reads) - 1), len(reads))
                whole |= dict.fromkeys(untried, Answer(TIMED_OUT, b"", "not read, since other reads hang"))
            case ["end"]:
                ended = True
    if not ended or len(whole) != len(reads):
        raise ValueError(f"{len(whole)} of {len(reads)} answers came")
    return {read: _judged(read, whole[index], members[index]) for index, read in enumerate(reads)}


def _pieces(nonce: str, output: bytes) -> Iterator[tuple[list[str], bytes]]:
    """Header words and payload of each mark; what a login script said before the first is dropped."""
    for piece in output.split(f"\n{nonce} ".encode())[1:]:
        header, _, payload = piece.partition(b"\n")
        yield header.decode("ascii").split(), payload


def _judged(read: ScriptRead, answer: Answer, members: dict[str, Answer]) -> Answer:
    match read:
        case File(limit=limit):
            return _whole_file(answer, limit)
        case Glob(limit=limit):
            judged = {path: _whole_file(member, limit) for path, member in members.items()}
            return _of_pattern(answer, judged)
        case Attributes():
            judged = {path: _first_line(member) for path, member in members.items()}
            return _of_pattern(answer, judged)
        case Links() | Names():
            judged = {path: _whole_file(member, LINE_LIMIT) for path, member in members.items()}
            return _of_pattern(answer, judged)
        case Holders() | MapAndRead() | SshLogin() | AuthorizedKeys() | Command():
            return answer


def _whole_file(answer: Answer, limit: int) -> Answer:
    """A file's answer, reduced to the reason where it failed: `head` puts that after a colon."""
    if answer.status != 0:
        return Answer(answer.status, b"", answer.stderr.rpartition(": ")[2])
    if len(answer.stdout) > limit:
        return Answer(1, b"", f"it is larger than {limit} bytes")
    return answer


def _first_line(answer: Answer) -> Answer:
    line, newline, _ = answer.stdout.partition(b"\n")
    first = answer if answer.status != 0 or not newline else replace(answer, stdout=line)
    return _whole_file(first, LINE_LIMIT)


def _of_pattern(answer: Answer, members: dict[str, Answer]) -> Answer:
    """No match is proven by a folder that was read, or by one that is not there."""
    there = {path: one for path, one in members.items() if not _is_gone(one)}
    if _is_gone(answer):
        return Answer(0)
    return Answer(answer.status, b"", answer.stderr if answer.status else "", there)


def _is_gone(answer: Answer) -> bool:
    """The reason is compared after the last colon: a path may hold any text."""
    return answer.status != 0 and answer.stderr.rstrip().rpartition(": ")[2] in (NO_FILE, NO_FOLDER)
