r"""Reads to one POSIX sh script, and its output to answers. Pure.

Everything in one go: each answer is what came, byte for byte, between marks of a random nonce that
only the script knows (no read sees it in an argument or in the environment):

    \n<nonce> name <index>\n<path>            the file of a pattern that what follows is about
    \n<nonce> out <index>\n<standard output>
    \n<nonce> err <index> <status>\n<standard error>
    \n<nonce> late <index>\n                   it took too long, and was given up
    \n<nonce> left <index>\n                   too many did: from this one on, none was tried
    \n<nonce> skip <index> <index>\n           these and all between: their condition does not hold
    \n<nonce> end\n

Nothing is written on the far side, temporary files included, and nothing is needed there but
`sh` (dash is enough), coreutils and /proc; findutils, grep and sed for who holds a device.

Processes are what costs on the far side. So the shell reads by itself what it can read without loss, and
says by itself why something cannot be opened.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import groupby
from operator import or_

from cxlstate.core.answers import Answer, NotAsked
from cxlstate.core.exit_status import TIMED_OUT
from cxlstate.core.read import (
    Asked,
    Attributes,
    AuthorizedKeys,
    Command,
    DeviceRead,
    Exists,
    File,
    FileSystem,
    Glob,
    Holders,
    Included,
    Links,
    MapAndRead,
    Names,
    PosixQuestion,
    PosixRead,
    SshLogin,
    TimeLoads,
    conditions,
)
from cxlstate.formats.sh import quote
from cxlstate.machine import limits
from cxlstate.machine.posix import device_reads, login_reads, read_shell
from cxlstate.machine.posix.frames import number

_STATUS = 255  # the highest that there is

LINE_LIMIT = 1 << 16
"""Longest first line of an attribute, in bytes."""

SMALL = 4096
"""Longest file that the shell itself reads whole, in bytes: it takes one at a time."""

NO_FILE = "No such file or directory"
_NO_FILE = (NO_FILE, "No such file", "no such file")  # head and bash; dash; busybox
_GONE = (*_NO_FILE, "Not a directory")

_OF_THE_KERNEL = ("/proc/", "/sys/")


def merge(questions: Collection[PosixQuestion]) -> dict[PosixRead, PosixQuestion]:
    """Each read → what is asked for it: commands with equal words become one with all operands.

    A command without operands asks about everything, and stays by itself. What is asked for under several
    conditions is asked under any of them.
    """
    asked = conditions(questions)
    groups: defaultdict[tuple[str, ...], list[Command]] = defaultdict(list)
    for read in asked:
        if isinstance(read, Command) and read.operands:
            groups[read.argv].append(read)
    merged = {read: _question_of(read, only_if) for read, only_if in asked.items()}
    for commands in groups.values():
        held = [only_if for command in commands if (only_if := asked[command])]
        only_if = reduce(or_, held) if len(held) == len(commands) else None
        merged |= dict.fromkeys(commands, _question_of(_union(commands), only_if))
    return merged


def _question_of(read: PosixRead, only_if: Exists | None) -> PosixQuestion:
    return read if only_if is None else Asked(read, only_if)


def _union(commands: Sequence[Command]) -> Command:
    operands = sorted({operand for command in commands for operand in command.operands})
    longest = max(command.timeout for command in commands)
    return Command(commands[0].argv, tuple(operands), longest)


def ordered(questions: Collection[PosixQuestion]) -> list[PosixQuestion]:
    """Each once, and those of one condition together, so that it is looked at once."""
    return sorted(dict.fromkeys(questions), key=lambda one: getattr(_condition(one), "patterns", ()))


def read_of(question: PosixQuestion) -> PosixRead:
    """What is to be read, whatever the condition."""
    return question.read if isinstance(question, Asked) else question


def _condition(question: PosixQuestion) -> Exists | None:
    return question.only_if if isinstance(question, Asked) else None


def script(nonce: str, questions: Sequence[PosixQuestion]) -> bytes:
    """The script that asks `questions`, which are numbered by their place. See `ordered`."""
    numbers = {"count": len(questions), "most": limits.HUNG, "pause": limits.TICK, "most_of_text": SMALL}
    settings = "".join(f"{name}={value}\n" for name, value in numbers.items())
    reads = [read_of(question) for question in questions]
    parts = [f"nonce={quote(nonce)}\n{settings}{read_shell.PRELUDE}{_patience(reads)}".encode()]
    if any(isinstance(read, DeviceRead) for read in reads):
        parts.append(device_reads.FUNCTIONS.encode())
    if any(isinstance(read, SshLogin | AuthorizedKeys | Included) for read in reads):
        parts.append(login_reads.FUNCTIONS.encode())
    parts.append(b"work() {\n")
    for only_if, some in groupby(enumerate(questions), lambda numbered: _condition(numbered[1])):
        indices = [index for index, _ in some]
        asked = b"".join(_numbered(index, reads[index]) for index in indices)
        parts.append(asked if only_if is None else _only_if(only_if, indices[0], indices[-1], asked))
    parts.append(f"echo {len(reads)} >&9\n}}\n{read_shell.SUPERVISOR}".encode())
    return b"".join(parts)


def _numbered(index: int, read: PosixRead) -> bytes:
    """A question, which is passed over by a `work` that begins behind it."""
    try:
        question = _question(index, read).encode("utf-8", "surrogateescape")
    except ValueError as cannot_be_said:
        question = f"mark 'err {index} 1'; printf %s {quote(str(cannot_be_said))}\n".encode()
    return b'[ "$1" -gt %d ] || { echo %d >&9\n%b}\n' % (index, index, question)


def _only_if(condition: Exists, first: int, last: int, asked: bytes) -> bytes:
    """Questions under a condition. That it cannot be said is told where it is asked for itself."""
    try:
        holds = f"any {_words(condition)}".encode("utf-8", "surrogateescape")
    except ValueError:
        holds = b"false"
    return b"".join(
        (
            b'if [ "$1" -gt %d ]; then :\n' % last,
            b'elif { [ "$1" -gt %d ] || echo %d >&9; %b; }; then\n' % (first, first, holds),
            asked,
            b"else mark 'skip %d %d'; fi\n" % (first, last),
        )
    )


def limit(question: PosixQuestion) -> int:
    """Seconds that a read may take. That of a command is over before it is noticed."""
    match read_of(question):
        case Command(timeout=timeout):
            return timeout + limits.TICK
        case Holders() | MapAndRead() | FileSystem() | TimeLoads() | SshLogin() | AuthorizedKeys():
            return limits.LONG_READ
    return limits.READ


def _patience(reads: Sequence[PosixRead]) -> str:
    """How many ticks the read at which `work` is may take, and whether it counts as one that hangs.

    A command has a limit of its own, which the limit of the whole exchange reckons with.
    """
    longer: defaultdict[str, list[str]] = defaultdict(list)
    for index, read in enumerate(reads):
        if isinstance(read, DeviceRead | SshLogin | AuthorizedKeys | Command):
            ticks, counts = -(-limit(read) // limits.TICK), int(not isinstance(read, Command))
            longer[f"allowed={ticks} counts={counts}"].append(str(index))
    cases = "".join(f"{'|'.join(indices)}) {settings} ;;\n" for settings, indices in longer.items())
    others = f"allowed={-(-limits.READ // limits.TICK)} counts=1"
    return f"patience() {{\ncase $at in\n{cases}*) {others} ;;\nesac\n}}\n"


def _question(index: int, read: PosixRead) -> str:
    match read:
        case File(path=path, limit=limit):
            reader = "line" if path.startswith(_OF_THE_KERNEL) else "file"
            return f"{reader} {index} {limit + 1} {quote(path)}\n"
        case Glob(pattern=pattern, limit=limit):
            return _proven(index, [pattern], f"contents {index} {limit + 1} {_word(pattern)}")
        case Included(path=path, limit=limit):
            return _proven(index, [path], f"included {index} {limit + 1} {quote(path)}")
        case Exists(patterns=patterns):
            nothing = _proven(index, patterns, ":")
            return f"if any {_words(read)}; then said {index} yes; else\n{nothing}fi\n"
        case Attributes() | Links() | Names():
            return _of_each(index, read)
        case SshLogin() | AuthorizedKeys():
            return f"ask {index} {login_reads.question(read)}\n"
        case Holders() | MapAndRead() | FileSystem() | TimeLoads():
            return f"ask {index} {device_reads.question(read)}\n"
        case Command(argv=argv, operands=operands):
            words = " ".join(map(quote, (*argv, *operands)))
            return f"ask {index} {words}\n"


def _of_each(index: int, read: Attributes | Links | Names) -> str:
    """What is asked of everything that a pattern matches."""
    match read:
        case Attributes(pattern=pattern):
            return _each(index, pattern, f'attribute {index} "$found" {LINE_LIMIT + 1}')
        case Links(pattern=pattern):
            return _each(index, pattern, f'link {index} "$found"')
        case Names(pattern=pattern):
            return _each(index, pattern, f'name {index} "$found"')


def _each(index: int, pattern: str, act: str) -> str:
    return _proven(index, [pattern], f"for found in {_word(pattern)}; do {act}; done")


def _proven(index: int, patterns: Sequence[str], act: str) -> str:
    """What is done with all that matches, with proof that no match is hidden by a closed folder."""
    folders = [_folders(pattern) for pattern in patterns]
    looks = " ".join(_word(folder) for passed in folders for folder in passed)
    fixed = " ".join(_literal(first) for first, *_ in folders)
    return f'denied=\nfor found in {looks}; do look "$found"; done\n{act}\nconclude {index} {fixed}\n'


def _words(condition: Exists) -> str:
    return " ".join(map(_word, condition.patterns))


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


def parse(
    nonce: str, output: bytes, questions: Sequence[PosixQuestion]
) -> dict[PosixRead, Answer | NotAsked]:
    """The answers in what the script sent. ValueError: it did not run to its end, or something else did."""
    reads = [read_of(question) for question in questions]
    whole: dict[int, Answer | NotAsked] = {}
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
            case ["late" | "left" | "skip", *_]:
                unread = _unread(header, questions)
                whole = {**unread, **whole}  # what was answered before somebody looked again is answered
                members = defaultdict(dict, {at: one for at, one in members.items() if at not in unread})
                name, stdout = None, b""
            case ["end"]:
                ended = True
    if not ended or len(whole) != len(reads):
        raise ValueError(f"{len(whole)} of {len(reads)} answers came")
    return {read: _judged(read, whole[index], members[index]) for index, read in enumerate(reads)}


def _unread(header: list[str], questions: Sequence[PosixQuestion]) -> dict[int, Answer | NotAsked]:
    """What was given up, not tried, or passed over."""
    most = len(questions) - 1
    match header:
        case ["late", index]:
            at = number(index, most)
            return {at: Answer(TIMED_OUT, b"", f"no answer within {limit(questions[at])} s")}
        case ["left", index]:
            untried = range(number(index, most), len(questions))
            return dict.fromkeys(untried, Answer(TIMED_OUT, b"", "not read, since other reads hang"))
        case ["skip", first, last]:
            passed = range(number(first, most), number(last, most) + 1)
            return {at: _skipped(questions[at]) for at in passed}
    raise ValueError(f"{' '.join(header)[:40]!a} is no mark")


def _skipped(question: PosixQuestion) -> NotAsked:
    """What is asked in any case is not passed over by a machine that runs our script."""
    if not isinstance(question, Asked):
        raise ValueError(f"{question} was passed over")  # noqa: TRY004  # of what came, as all others
    return NotAsked(question.only_if)


def _pieces(nonce: str, output: bytes) -> Iterator[tuple[list[str], bytes]]:
    """Header words and payload of each mark; what a login script said before the first is dropped."""
    for piece in output.split(f"\n{nonce} ".encode())[1:]:
        header, _, payload = piece.partition(b"\n")
        yield header.decode("ascii").split(), payload


def _judged(read: PosixRead, answer: Answer | NotAsked, members: dict[str, Answer]) -> Answer | NotAsked:
    if isinstance(answer, NotAsked):
        return answer
    match read:
        case File(limit=limit):
            return _whole_file(answer, limit)
        case Glob(limit=limit) | Included(limit=limit):
            judged = {path: _whole_file(member, limit) for path, member in members.items()}
            return _of_pattern(answer, judged)
        case Attributes():
            judged = {path: _first_line(member) for path, member in members.items()}
            return _of_pattern(answer, judged)
        case Links() | Names():
            judged = {path: _whole_file(member, LINE_LIMIT) for path, member in members.items()}
            return _of_pattern(answer, judged)
        case Exists():
            return Answer(0) if _is_gone(answer) else answer
        case Holders() | MapAndRead() | FileSystem() | TimeLoads():
            return answer
        case SshLogin() | AuthorizedKeys() | Command():
            return answer


def _whole_file(answer: Answer, limit: int) -> Answer:
    """A file's answer, reduced to the reason where it failed: that stands after a colon."""
    if answer.status != 0:
        reason = answer.stderr.rstrip().rpartition(": ")[2]
        return Answer(answer.status, b"", NO_FILE if reason in _NO_FILE else reason)
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
    """Whether all that was complained of is not there. Reasons stand after the last colon of a line."""
    reasons = [line.rpartition(": ")[2] for line in answer.stderr.splitlines()]
    return answer.status != 0 and bool(reasons) and all(reason in _GONE for reason in reasons)
