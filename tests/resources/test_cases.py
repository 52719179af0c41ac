"""Every kind as data: what the spec says, what the machine answered, and what must come of it.

A case is `tests/resources/<kind>/<case>.yaml`:

    spec: {args: [quiet]}     # one entry, as it stands at the kind's place; left out: what is implied
    secrets: {env PASSWORD: x}                      # what the references of the spec lead to
    name: kmem                # the key of the entry, for kinds that stand in a map
    vm: cxl_vmx               # the VM in whose entry it stands, for kinds in the section of a guest
    guest: [provision]        # the kinds in the section of its guest, for a VM
    seeded: false             # the first boot of that guest takes no seed
    host: captured/host.yaml  # answers of a whole host; those of the case go before, null takes one out
    answers:                  # what the machine says, by path or command line
      /proc/cmdline: 'root=/dev/vda1 ro'              # the text; a list is joined by blanks
      /etc/default/grub: {file: captured/grub.txt}    # the text of a file beside the case
      /proc/iomem: {status: 1, stderr: 'Permission denied'}
      /sys/firmware/memmap/*/*: {files: captured/map.txt}    # lines of `PATH: content` or `PATH -> target`
      /dev/cxlstate/cxl0: {link: ../dax0.0}           # a symbolic link; seen by Links and Names
      /etc/cxlstate/restore: {restore: [1 mtrr cxl0 0x5000000000 0x1000000000 uncachable]}    # as we write it
      /etc/systemd/system/x: {package: formats/restore.service}    # a file of the package
      holders dax*: "4711\tdax0.0\tqemu -name guest=a"    # Holders('dax*'); without an answer: nobody
      mapping 0x5080000000: ok                        # MapAndRead; without an answer: no python3
      file system on /: {file: captured/dumpe2fs.txt}    # FileSystem; without an answer: not mounted
      authorized keys of admin: "home /home/admin\n…"    # AuthorizedKeys; without an answer: no user
      the SSH login: "login user admin"               # SshLogin; without an answer: root, not by SSH
      domain cxl_vmx:                                 # LibvirtDomain, by parts; null or none: no such domain
        inactive.xml: {file: captured/cxl_vmx.xml}    # also active.xml, facts, affinity
        facts: "state=shut-off\\npersistent=yes"
      network default: {status: 1, stderr: 'Permission denied'}    # LibvirtNetwork, likewise: facts, ports
      addresses cxl_vmx: 52:54:00:fc:10:bd 192.168.122.110/24      # LibvirtAddresses; none: no lease
    given:                    # what other resources export
      vm.cxl_vmx: [NvdimmOfVm: {number: 0, slot: 1, …, align_of: dax.cxl0}]    # in the guest of this VM
      memmap: [KernelArguments: [memmap=1G!6G]]
      dax.cxl0: [DaxDevice: {link: /dev/cxlstate/cxl0, start: 0x5080000000, end: 0x6880000000}]
      dax.cxl1: [DaxDevice: {link: /dev/cxlstate/cxl1, ranges: [{start: 0x1000, end: 0x2000}, …]}]
      mtrr.cxl0: [RestoreStep: 1 mtrr cxl0 0x5000000000 0x1000000000 uncachable]    # rank, words
      mtrr.cxl1: [MtrrRanges: [0x8000000000 0x1000000000 uncachable]]    # or null
    whole: false              # a run with a target: what is not given stays as it is
    inspected: true           # what the kind asks for `show` alone is answered, too
    invalid: [{code: CXG201, path: [args, 0], found: …}]     # then nothing else is looked at
    unknown: the reason       # or a mapping of reason, hint, cured_by
    absent: true
    diagnostics: [{code: …, severity: …, path: …}]    # also of what is unknown
    later: [{what: …, after: [dax.cxl0]}]    # checks that have to wait
    derived: [{path: [align], value: 4KiB, of: dax.cxl0}]    # what follows from the wish of another
    cured: {args: [quiet]}    # the spec after what a hint says, for `test_hints.py`
    exports: [KernelArguments: [modprobe.blacklist=kmem]]    # of a DaxDevice, what is not None
    describe: {now: loaded}   # what `show` says
    measurable: {memory: dax0.0, cached: false, latency: 150-300ns}    # or why nothing can be measured
    changes: [{path: [args], from: null, to: quiet, pending: true}]
    actions: [{does: …, effect: WriteFile /etc/x, risk: live, why: …, holds: […], lacks: […]}]
    suspend: [{effect: Step dax_unbind name=dax0.0}]         # actions, or a diagnostic: {code: …}
    resume: [{effect: Step dax_bind name=dax0.0 -}]
    leftovers: [{name: cxl9, changes: […], actions: […]}]    # then nothing else is looked at,
    declared: [cxl0]          # and this is what the spec still has of the kind

Every action that a case names has its `effect` and its `risk`: what is done, and what consent it needs.
The effect of a `Step` is written `Step VERB WORD…`, memory that an action suspends as
`suspends: [{start: 0x5000000000, end: 0x7000000000}]`. An effect on libvirt or on a disk image is its
class and its fields in their order: `UpdateNetwork default add-last ip-dhcp-host live config`,
`PinDomain cxl_vmx vcpu 0-3 1`, `GrowImage /srv/a.qcow2 1073741824 qcow2`. A flag is its name, and nothing
where it is off; texts of XML, hashes, what a guest is made from, the wish of an `EditDomain`, and a number
that is -1 are left out.
A file that is asked for and has no answer does not exist; a pattern matches the files that have an
answer. The parts of a domain or network go before those of the host one by one; null takes a part out.
An answer that nobody asked for is a mistake in the case. Of a diagnostic and an action only
what the case names is compared; that there are no others always is. `exports`, `describe`, `measurable`,
`suspend`, `resume` and `later` are compared where the case has them. `holds` are texts that must stand in
what the effect writes (of a `Step`: in what is shown; of an effect on libvirt: in its XML; of an
`EditDomain`: in its wish, a line `field: value` each), `lacks` texts that must not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cxlstate.core import exports as export_types
from cxlstate.core.action import Action, Generate, Reboot, RemoveFile, Run, Span, Step, WriteFile
from cxlstate.core.address import Address
from cxlstate.core.answers import Answer, Answers, NotAsked, ReadFailed, describe
from cxlstate.core.assessment import Assessment, Collective, Hold
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import (
    DaxDevice,
    DiskImage,
    Export,
    GuestToBe,
    Inputs,
    MtrrRanges,
    NvdimmOfVm,
    RestoreStep,
    Seed,
)
from cxlstate.core.file import PutFile
from cxlstate.core.libvirt import EditDomain
from cxlstate.core.measure import Measurable
from cxlstate.core.model import BESIDE_BYTES
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.read import (
    Attributes,
    AuthorizedKeys,
    Command,
    Exists,
    File,
    FileSystem,
    Glob,
    Holders,
    LibvirtAddresses,
    LibvirtDomain,
    LibvirtNetwork,
    LibvirtRead,
    Links,
    MapAndRead,
    Names,
    Question,
    Read,
    SshLogin,
    conditions,
)
from cxlstate.core.reconciler import Inspects, Leaves, Reconciler, Resource
from cxlstate.core.reference import FETCH
from cxlstate.core.secret import Secret
from cxlstate.core.units import format_cpus
from cxlstate.formats import restore
from cxlstate.resources import kinds
from cxlstate.spec.entry import Entry, EntryReader
from tests.fragments import FRAGMENTS

HERE = Path(__file__).parent
UNSAID = {
    AuthorizedKeys: Answer(2),
    MapAndRead: Answer(127, stderr="sh: python3: not found"),
    SshLogin: Answer(0, b"login user root\n"),
}
CASES = sorted(HERE.glob("*/*.yaml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_case_comes_out_as_written(path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    kind = kinds()[path.parent.name]
    for action in _actions_of(case):
        assert {"effect", "risk"} <= action.keys(), f"effect and risk of {action}"
    assert outcome(kind, case, path.parent) == _expected(case)


def test_every_kind_has_cases() -> None:
    assert {path.parent.name for path in CASES} == set(kinds())


def _actions_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Every action that a case names."""
    named = [action for one in case.get("leftovers", []) for action in one["actions"]]
    for key in ("actions", "suspend", "resume"):
        named += case[key] if isinstance(case.get(key), list) else []
    return named


def outcome(
    kind: Reconciler[Any, Any], case: dict[str, Any], folder: Path, *, all_asked: bool = True
) -> dict[str, Any]:
    """What comes of a case; of each part that the case names, as much as it names."""
    if "leftovers" in case:
        return _left(kind, case, folder)
    read = _read(kind, case, folder) if "spec" in case else Entry(kind.implied(), None, ())
    if not read.whole:
        refused = read.refused.errors() if read.refused else []
        found = [*map(_invalid, refused), *map(_diagnostic, read.problems)]
        return {"invalid": _chosen(found, case.get("invalid", []))}
    guest = {one: SimpleNamespace(seeded=case.get("seeded", True)) for one in case.get("guest", ())}
    given = (Address.parse(one).name for one in case.get("given", ()) if one.startswith("vm."))
    vm = case.get("vm") or next(given, "")
    me = Resource(
        Address(kind.kind, case.get("name", "")), read.spec, guest=guest if "guest" in case else None, vm=vm
    )
    reads = tuple(kind.reads(me))
    if case.get("inspected"):
        assert isinstance(kind, Inspects)
        reads = (*reads, *kind.inspections(me))
    try:
        observation = kind.observe(me, _answers(reads, _said(case, folder), folder, all_asked=all_asked))
    except ReadFailed as failed:
        observation = Unknown(failed.reason)
    match observation:
        case Unknown(reason=reason):
            all_of_it = {
                "reason": reason,
                "hint": observation.hint,
                "cured_by": list(map(str, observation.cured_by)),
            }
            wanted = case.get("unknown")
            told = {key: all_of_it[key] for key in wanted} if isinstance(wanted, dict) else reason
            return {"unknown": told, **_planned(kind, me, observation, case)}
        case Present():
            return _planned(kind, me, observation, case)
        case Absent():
            absent = {"absent": True} if "absent" in case else {}
            return {**absent, **_planned(kind, me, observation, case)}


def _read(kind: Reconciler[Any, Any], case: dict[str, Any], folder: Path) -> Entry:
    """A secret is what the case says of its reference, and a file beside the spec is beside the case."""
    said = case.get("secrets", {})
    context: dict[str, Any] = {
        FETCH: lambda reference: Secret(said[str(reference)].encode()),
        BESIDE_BYTES: lambda path: (folder / path).read_bytes(),
    }
    return EntryReader(kind.model).read(case["spec"], context)


def _planned(
    kind: Reconciler[Any, Any], resource: Resource[Any], seen: Observation[Any], case: dict[str, Any]
) -> dict[str, Any]:
    inputs = Inputs(
        {Address.parse(address): list(map(_export, many)) for address, many in case.get("given", {}).items()}
    )
    found = _assessed(kind, resource, seen, inputs, whole=case.get("whole", True))
    outcome: dict[str, Any] = {}
    if found.problems:
        outcome["diagnostics"] = _chosen(list(map(_diagnostic, found.problems)), case.get("diagnostics", []))
    if "exports" in case:
        outcome["exports"] = list(map(_exported, found.exports))
    if "describe" in case:
        outcome["describe"] = dict(found.facts)
    outcome |= {key: told for key, told in _told(found).items() if key in case}
    if "measurable" in case:
        assert kind.measures
        outcome["measurable"] = _measurable(found.measurable)
    outcome |= _held(found.hold or Hold(), case)
    if found.refused:
        return outcome
    if found.changes:
        outcome["changes"] = list(map(_change, found.changes))
    if found.actions:
        outcome["actions"] = _chosen(list(map(_action, found.actions)), case.get("actions", []))
    return outcome


def _told(found: Assessment) -> dict[str, Any]:
    """What is compared only where a case has it."""
    return {
        "later": [{"what": one.what, "after": list(map(str, one.after))} for one in found.later],
        "derived": [{"path": list(one.path), "value": one.value, "of": str(one.of)} for one in found.derived],
    }


def _held(hold: Hold, case: dict[str, Any]) -> dict[str, Any]:
    outcome: dict[str, Any] = {}
    if "suspend" in case:
        outcome["suspend"] = _suspended(hold.stuck or hold.release, case["suspend"])
    if "resume" in case:
        outcome["resume"] = _chosen(list(map(_action, hold.retake)), case["resume"])
    return outcome


def _measurable(found: Measurable | str | None) -> Any:
    if not isinstance(found, Measurable):
        return found
    latency = {"latency": str(found.latency)} if found.latency else {}
    return {"memory": found.memory, "cached": found.cached, **latency}


def _assessed(
    kind: Reconciler[Any, Any],
    resource: Resource[Any],
    seen: Observation[Any],
    inputs: Inputs,
    *,
    whole: bool,
) -> Assessment:
    """With what shows only in all of a kind together: of the others there is what they export."""
    found = kind.assess(resource, seen, inputs)
    if not isinstance(kind, Collective):
        return found
    others = {
        address: Assessment(tuple(one for of, one in inputs.everything() if of == address))
        for address, _ in inputs.everything()
        if address.kind == kind.kind
    }
    problems = kind.together({**others, resource.address: found}, whole=whole)
    return replace(found, problems=(*found.problems, *problems))


def _left(kind: Reconciler[Any, Any], case: dict[str, Any], folder: Path) -> dict[str, Any]:
    assert isinstance(kind, Leaves)
    answers = _answers(kind.leftover_reads(), _said(case, folder), folder)
    found = kind.leftovers(answers, frozenset(case.get("declared", [])))
    expected = case["leftovers"]
    left = []
    for index, one in enumerate(found):
        wanted = expected[index].get("actions", []) if index < len(expected) else []
        actions = _chosen(list(map(_action, one.actions)), wanted)
        left.append({"name": one.name, "changes": list(map(_change, one.changes)), "actions": actions})
    return {"leftovers": left}


def _suspended(found: Sequence[Action] | Diagnostic, expected: Any) -> Any:
    if isinstance(found, Diagnostic):
        return _chosen([_diagnostic(found)], [expected] if isinstance(expected, dict) else [])[0]
    return _chosen(list(map(_action, found)), expected if isinstance(expected, list) else [])


def _expected(case: dict[str, Any]) -> dict[str, Any]:
    compared = ("invalid", "unknown", "absent", "diagnostics", "changes", "actions")
    where_named = ("exports", "describe", "measurable", "suspend", "resume", "leftovers", "later", "derived")
    expected = {key: case[key] for key in compared if case.get(key)}
    expected |= {key: case[key] for key in where_named if key in case}
    for action in _actions_of(expected):
        if "holds" in action or "lacks" in action:
            action["missing"], action["left"] = [], []
    return expected


def _chosen(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was found, cut to what the case names; an entry the case has no counterpart for is whole."""
    chosen = []
    for index, one in enumerate(found):
        wanted = expected[index] if index < len(expected) else one
        cut = {key: one[key] for key in wanted if key in one}
        written = one.get("written", "")
        if "holds" in wanted or "lacks" in wanted:
            cut["holds"], cut["lacks"] = wanted.get("holds"), wanted.get("lacks")
            cut = {key: value for key, value in cut.items() if value is not None}
            cut["missing"] = [text for text in wanted.get("holds", []) if text not in written]
            cut["left"] = [text for text in wanted.get("lacks", []) if text in written]
        chosen.append(cut)
    return chosen


def _said(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    said = yaml.safe_load((folder / case["host"]).read_text()) if "host" in case else {}
    for path, text in case.get("answers", {}).items():
        parts = _has_parts(path) and isinstance(text, dict) and not _failed(text)
        before = said.get(path) if parts and not _failed(said.get(path)) else None
        said[path] = {**(before or {}), **text} if parts else text
    return {path: text for path, text in said.items() if text is not None}


def _has_parts(path: str) -> bool:
    """Whether it is an answer of libvirt that comes in parts."""
    return path.startswith(("domain ", "network "))


def _answers(
    questions: Sequence[Question], said: dict[str, Any], folder: Path, *, all_asked: bool = True
) -> Answers:
    texts: dict[str, Any] = {}
    for key, value in said.items():
        if isinstance(value, dict) and "files" in value:
            texts.update(map(_captured, (folder / value["files"]).read_text().splitlines()))
        else:
            texts[key] = value
    asked = conditions([one for one in questions if not isinstance(one, LibvirtRead)])
    reads = dict.fromkeys([one for one in questions if isinstance(one, LibvirtRead)]) | asked
    answers: dict[Read, Answer | NotAsked] = {
        read: _answer(read, texts, folder)
        if only_if is None or _answer(only_if, texts, folder).stdout
        else NotAsked(only_if)
        for read, only_if in reads.items()
    }
    named = {path for read in reads for path in texts if _asks_for(read, path, texts[path])}
    assert named == set(texts) or not all_asked, f"nobody asked for {sorted(set(texts) - named)}"
    return Answers(answers)


def _captured(line: str) -> tuple[str, Any]:
    if " -> " in line:
        path, target = line.split(" -> ", 1)
        return path, {"link": target}
    path, content = line.split(": ", 1)
    return path, content


def _asks_for(read: Read, path: str, said: Any) -> bool:
    if _key(read) == path:
        return True
    is_link = isinstance(said, dict) and "link" in said
    match read:
        case Glob(pattern=pattern) | Attributes(pattern=pattern):
            return not is_link and _matches(pattern, path)
        case Links(pattern=pattern):
            return is_link and _matches(pattern, path)
        case Names(pattern=pattern):
            return _matches(pattern, path)
        case Exists(patterns=patterns):
            return any(_matches(pattern, path) for pattern in patterns)
        case _:
            return False


def _key(read: Read) -> str:
    match read:
        case Exists():
            return ""  # by no text, but by what matches
        case Holders(name=name):
            return f"holders {name}"
        case MapAndRead(start=start):
            return f"mapping {start:#x}"
        case FileSystem(point=point):
            return f"file system on {point}"
        case LibvirtDomain(name=name):
            return f"domain {name}"
        case LibvirtNetwork(name=name):
            return f"network {name}"
        case LibvirtAddresses(name=name):
            return f"addresses {name}"
        case _:
            return describe(read)


def _matches(pattern: str, path: str) -> bool:
    """As a shell does: no `*` reaches over a slash, or stands for a name that begins with a dot."""
    parts, names = pattern.split("/"), path.split("/")
    return len(parts) == len(names) and all(
        fnmatchcase(name, part) and (part.startswith(".") or not name.startswith("."))
        for part, name in zip(parts, names, strict=True)
    )


def _answer(read: Read, texts: dict[str, Any], folder: Path) -> Answer:
    key = _key(read)
    if key in texts:
        if isinstance(read, Glob | Attributes | Links | Names) and not _failed(texts[key]):
            return Answer(0, files={key: _one(texts[key], folder)})
        if isinstance(read, LibvirtDomain | LibvirtNetwork) and not _failed(texts[key]):
            parts = {name: text for name, text in texts[key].items() if text is not None}
            return Answer(0, files={name: _one(text, folder) for name, text in parts.items()})
        return _one(texts[key], folder)
    return _unanswered(read, texts, folder)


def _unanswered(read: Read, texts: dict[str, Any], folder: Path) -> Answer:
    """What matches a pattern; else that it is not there."""
    match read:
        case Glob() | Attributes() | Links():
            matching = [path for path in texts if _asks_for(read, path, texts[path])]
            return Answer(0, files={path: _one(texts[path], folder) for path in matching})
        case Exists() | Names():
            found = {path: Answer(0) for path in texts if _asks_for(read, path, None)}
            return Answer(0, b"yes" if found else b"", files=found)
        case Holders() | LibvirtDomain() | LibvirtNetwork() | LibvirtAddresses():
            return Answer(0)
        case FileSystem():
            return Answer(1, stderr="nothing is mounted there")
        case MapAndRead() | SshLogin() | AuthorizedKeys():
            return UNSAID[type(read)]
        case Command(argv=argv):
            return Answer(127, stderr=f"{argv[0]}: not found")
        case File():
            return Answer(1, stderr=f"cat: {_key(read)}: No such file or directory")


def _failed(said: Any) -> bool:
    return isinstance(said, dict) and "status" in said


def _one(said: Any, folder: Path) -> Answer:
    match said:
        case {"file": name}:
            return Answer(0, (folder / name).read_bytes())
        case {"restore": steps}:
            return Answer(0, restore.script([_export({"RestoreStep": step}) for step in steps]))
        case {"package": name}:
            return Answer(0, (files("cxlstate") / name).read_bytes())
        case {"link": target}:
            return Answer(0, str(target).encode())
        case dict():
            return Answer(said.get("status", 1), said.get("stdout", "").encode(), said.get("stderr", ""))
        case list():
            return Answer(0, " ".join(map(str, said)).encode())
        case _:
            return Answer(0, str(said).encode())


def _export(written: dict[str, Any]) -> Export:
    ((name, value),) = written.items()
    if name == "RestoreStep":
        rank, *words = value.split()
        fragment = FRAGMENTS[words[0]]
        assert int(rank) == fragment.rank
        return RestoreStep(fragment, tuple(words))
    if name == "MtrrRanges":
        if value is None:
            return MtrrRanges(None)
        rows = [one.split() for one in value]
        return MtrrRanges(tuple((int(base, 16), int(size, 16), kind) for base, size, kind in rows))
    build = getattr(export_types, name)
    if build is NvdimmOfVm:
        of = value.pop("align_of", None)
        return NvdimmOfVm(align_of=Address.parse(of) if of else None, **value)
    if build is DaxDevice:
        return _device(**value)
    if build is GuestToBe and "root" in value:
        return GuestToBe(**{**value, "root": DiskImage(**value["root"])})
    return build(**value) if isinstance(value, dict) else build(tuple(value))


def _exported(export: Export) -> dict[str, Any]:
    if isinstance(export, RestoreStep):
        return {"RestoreStep": " ".join((str(export.fragment.rank), *export.words))}
    if isinstance(export, MtrrRanges):
        texts = [f"{base:#x} {size:#x} {kind}" for base, size, kind in export.wanted or ()]
        return {"MtrrRanges": texts if export.wanted is not None else None}
    if isinstance(export, Seed):  # what takes it away is said where it is done
        return {"Seed": {"instance": export.instance, "given": export.given}}
    fields = _of_device(export) if isinstance(export, DaxDevice) else asdict(export)
    only = next(iter(fields.values()))
    if len(fields) == 1:
        return {type(export).__name__: list(only) if isinstance(only, tuple) else only}
    if isinstance(export, NvdimmOfVm) and export.align_of:
        fields["align_of"] = str(export.align_of)
    said = {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}
    return {type(export).__name__: {key: value for key, value in said.items() if value is not None}}


def _device(
    link: str, start: int | None = None, end: int | None = None, ranges: Any = (), **rest: Any
) -> DaxDevice:
    """One range is written as its start and end, several as a list of such."""
    pairs = ranges or ([] if start is None else [{"start": start, "end": end}])
    return DaxDevice(link, tuple(Span(**pair) for pair in pairs), **rest)


def _of_device(export: DaxDevice) -> dict[str, Any]:
    fields = asdict(export)
    ranges = list(fields.pop("ranges"))
    return {**fields, **(ranges[0] if len(ranges) == 1 else {"ranges": ranges or None})}


def _change(change: Change) -> dict[str, Any]:
    return {**change.as_json(), **({"pending": True} if change.pending else {})}


def _invalid(error: Any) -> dict[str, Any]:
    context = error.get("ctx", {})
    return {
        "code": error["type"],
        "path": list(error["loc"]),
        "message": error["msg"],
        "found": context.get("found"),
        "expected": context.get("expected"),
        "hint": context.get("hint"),
    }


def _diagnostic(one: Diagnostic) -> dict[str, Any]:
    return {
        "code": one.code,
        "severity": one.severity.value,
        "path": list(one.path),
        "message": one.message,
        "found": one.found,
        "expected": one.expected,
        "hint": one.hint,
    }


def _action(action: Action) -> dict[str, Any]:
    return {
        "does": action.does,
        "effect": _effect(action.effect),
        "risk": action.risk.value,
        "why": action.why,
        "undo": [_effect(back.effect) for back in action.undo],
        "activation": action.activation,
        "suspends": list(map(asdict, action.suspends)),
        "written": _written(action.effect),
    }


def _effect(effect: Any) -> str:
    match effect:
        case WriteFile(path=path) | RemoveFile(path=path) | Generate(path=path):
            return f"{type(effect).__name__} {path}"
        case Run(argv=argv, operands=operands, unless=unless):
            return " ".join(("Run", *argv, *operands, *(("unless", unless) if unless else ())))
        case Step(words=words):
            return " ".join(("Step", *words))
        case Reboot():
            return "Reboot"
        case _:
            said = [_word(field.name, getattr(effect, field.name)) for field in fields(effect)]
            return " ".join((type(effect).__name__, *filter(None, said)))


def _word(name: str, value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return name if value else ""
        case int() if name == "mode":
            return f"{value:04o}"
        case int():
            return str(value) if value >= 0 else ""
        case frozenset():
            return format_cpus(value)
        case tuple():
            return " ".join(map(str, value))
        case _:
            hidden = name in {"xml", "expected", "content", "hash", "made_from"} or is_dataclass(value)
            return "" if hidden else str(value)


def _written(effect: Any) -> str:
    match effect:
        case WriteFile(content=content):
            return content.decode()
        case PutFile(content=content):
            return str(content) if isinstance(content, Secret) else content.decode("utf-8", "replace")
        case Generate(predicted=predicted, must_hold=must_hold):
            return "\n".join((predicted.decode(), *must_hold))
        case Step(typed=shown):
            return shown
        case EditDomain(wish=wish):
            stated = {field.name: getattr(wish, field.name) for field in fields(wish)}
            return "\n".join(f"{name}: {value}" for name, value in stated.items() if value is not None)
        case _:
            return str(getattr(effect, "xml", ""))
