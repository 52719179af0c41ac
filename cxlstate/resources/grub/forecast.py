"""What grub-mkconfig will write for a boot entry, told from what stands there now.

`formats.grub_linux_script` has every line that the machine's own 10_linux may write. The one that an entry
was made from is the one that fits it, with the configured values as they were then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from cxlstate.formats import grub_script
from cxlstate.formats.grub_cfg import Entry
from cxlstate.formats.grub_drop_in import CommandLines
from cxlstate.formats.grub_linux_script import Begins, Else, Part, Rest, Script, Slot, Template

_VT_HANDOFF = ("$vt_handoff", "${vt_handoff}")

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forecast:
    """`words` will be the entry's arguments; `own` are those of them that 10_linux itself puts there."""

    entry: Entry
    words: Words
    own: Words = ()

    def foreign(self, is_ours: Callable[[str], bool], read: Callable[[str], str]) -> Words:
        """What comes (`+ word`) or goes (`- word`) besides our own words; empty for nothing.

        Somebody edited the defaults and did not regenerate grub.cfg, or edited grub.cfg. `read` gives a word
        as the kernel will read it.
        """

        def others(words: Words) -> Words:
            return tuple(word for word in words if word not in _VT_HANDOFF and not is_ours(word))

        now, then = others(self.entry.words), others(self.words)
        come, gone = Counter(then) - Counter(now), Counter(now) - Counter(then)
        words = (
            *(f"+ {read(word)}" for word in come.elements()),
            *(f"- {read(word)}" for word in gone.elements()),
        )
        return words or (() if now == then else ("another order",))


def forecast(entry: Entry, script: Script, so_far: Sequence[CommandLines], then: CommandLines) -> Forecast:
    """`so_far`: the values that grub.cfg may have been made with; the first is the hand-written one."""
    templates = script.recovery if entry.recovery else script.normal
    exact = [
        (len(found) - len(template), found)
        for template in templates
        for lines in dict.fromkeys(so_far)
        if (found := _fit(template, entry.words, lines)) is not None
    ]
    # Of those with a Rest the one that leaves the least to it: our own words are none of the rest.
    made_from = min(exact, key=itemgetter(0))[1] if exact else _nearest(templates, entry.words)
    words = tuple(word for part in made_from for word in _configured(part, then))
    if "splash" not in grub_script.split(then.default):
        words = tuple(word for word in words if word not in _VT_HANDOFF)
    return Forecast(entry, words, tuple(part for part in made_from if isinstance(part, str)))


def _configured(part: Part, lines: CommandLines) -> Words:
    match part:
        case Slot.LINUX:
            return grub_script.split(lines.linux)
        case Slot.DEFAULT:
            return grub_script.split(lines.default)
        case Slot.RECOVERY:
            return grub_script.split(lines.recovery)
        case Else(words=words):
            return grub_script.split(lines.recovery) or words
        case Begins() | Rest():
            return ()
        case str(word):
            return (word,)
    raise TypeError(part)  # pragma: no cover - the cases above are all


def _fit(template: Template, words: Words, lines: CommandLines) -> Template | None:
    """The template with its open words filled in, where an entry was made from it and from these values."""
    found: list[Part] = []
    at = 0
    for part in template:
        if isinstance(part, str):
            if words[at : at + 1] != (part,):
                return None
            at += 1
            found.append(part)
            continue
        if isinstance(part, Rest):
            return (*found, *words[at:])
        expected = words[at : at + 1] if isinstance(part, Begins) else _configured(part, lines)
        if isinstance(part, Begins) and not (expected and expected[0].startswith(part.text)):
            return None
        if words[at : at + len(expected)] != expected:
            return None
        at += len(expected)
        found.append(expected[0] if isinstance(part, Begins) else part)
    return tuple(found) if at == len(words) else None


def _nearest(templates: Sequence[Template], words: Words) -> Template:
    """The template of which the most words of its own are there, whatever the configured values were."""
    found = (
        filled for template in templates if (filled := next(_loosely(template, words), None)) is not None
    )
    fixed = [slot for slot in Slot if slot is not Slot.RECOVERY]
    return max(found, key=lambda one: sum(isinstance(part, str) for part in one), default=tuple(fixed))


def _loosely(template: Template, words: Words) -> Iterator[Template]:
    if not template:
        if not words:
            yield ()
        return
    part, *rest = template
    if isinstance(part, Rest):
        yield words
        return
    if isinstance(part, str | Begins):
        first = words[:1]
        if first and (first[0] == part or (isinstance(part, Begins) and first[0].startswith(part.text))):
            yield from ((first[0], *more) for more in _loosely(tuple(rest), words[1:]))
        return
    for taken in range(len(words) + 1):
        yield from ((part, *more) for more in _loosely(tuple(rest), words[taken:]))
