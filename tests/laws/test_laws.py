"""The laws that every kind must keep, over generated specs and machines, on the simulator.

Law 3 is in `test_crash.py`, laws 6 and 7 in `test_sight.py`.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from cxlstate.core.address import Address, ScopedAddress
from cxlstate.core.diagnostic import Severity
from cxlstate.core.reconciler import How
from cxlstate.engine.graph import Graph
from cxlstate.engine.observe import resources_of
from cxlstate.engine.plan import Exit, Status
from cxlstate.formats import grub_cfg, kernel_cmdline, restore, sshd_config
from cxlstate.render.terminal import drift_text, live_text
from cxlstate.resources.forward import keepers as forwards
from cxlstate.spec.load import dump, load
from tests.laws.bench import DROP_IN, GRUB_CFG, bench
from tests.strategies import disturbances, faulty, oddly_named, sound

KASLR_REGIONS = 4  # of both specs together: `test_known.py` tells why
OWN_FAULT = {  # codes that say: what is asked for cannot be
    *("CXG307", "CXG308", "CXG309", "CXM301", "CXM302", "CXM303", "CXM306", "CXO201", "CXP201", "CXU201"),
    *("CXV201", "CXV202", "CXV203", "CXD303", "CXT301"),
    *("CXN302", "CXN304", "CXQ301", "CXQ302", "CXQ308", "CXR201"),
}


# 1 -------------------------------------------------------------------------------------------------


def reading_and_planning_change_nothing(host, disturbed):
    with bench(disturbed) as one:
        spec = one.spec(host)
        before = one.snapshot()
        plan = one.plan(spec)
        live_text(plan.machines[0], plan.tree.file)
        drift_text([plan])
        assert one.snapshot() == before


# 2 -------------------------------------------------------------------------------------------------


def a_sound_spec_is_in_force_after_one_apply_and_a_second_does_nothing(host, earlier, disturbed):
    assume(sum(len(one.get("memmap", ())) for one in (host, earlier or {})) <= KASLR_REGIONS)
    with bench() as one:
        if earlier is not None:
            one.apply(one.spec(earlier))
        for what in disturbed:
            one.disturb(what)
        spec = one.spec(host)
        applied = one.apply(spec)
        assert not applied.diagnostics, applied.diagnostics
        assert applied.exit is Exit.IN_SYNC
        _nothing_more_is_done(one, spec)
        plan = one.plan(spec)
        assert [r.status for r in plan.resources] == [Status.IN_SYNC] * len(plan.resources)
        assert drift_text([plan]) == ""


def what_is_left_after_apply_was_the_specs_own_fault(host, disturbed):
    with bench(disturbed) as one:
        spec = one.spec(host)
        applied = one.apply(spec)
        plan = one.plan(spec)
        tried = {d.address for d in applied.diagnostics}
        assert {d.code for d in applied.diagnostics} <= {"CXE203"}
        assert {d.code for d in plan.all_diagnostics if d.severity is Severity.ERROR} <= OWN_FAULT
        excused = set(tried)
        for resource in plan.resources:
            own = resource.status is Status.UNKNOWN or resource.exit is Exit.ERROR
            waits = excused & set(resource.waits_for)
            if own or waits:
                excused.add(resource.address)
            in_order = resource.status is Status.IN_SYNC or resource.address in excused
            # A reboot is not done while something has failed: that is what stays pending.
            held = resource.status is Status.PENDING_REBOOT and tried
            assert in_order or held or _waits_for_held(resource, plan, tried), (resource, applied.diagnostics)
        if not tried:
            _nothing_more_is_done(one, spec)


def _waits_for_held(resource, plan, tried):
    """Whether it waits for the reboot, or for something that does, and so on."""
    held = {r.at for r in plan.resources if r.status is Status.PENDING_REBOOT}
    for _ in plan.resources:
        held |= {r.at for r in plan.resources if held & set(r.waits_for)}
    return bool(tried) and resource.at in held


def _nothing_more_is_done(one, spec):
    before = one.snapshot()
    one.apply(spec)
    after = one.snapshot()
    before.pop("lock", None), after.pop("lock", None)
    assert _changed(before, after) == []


def _changed(before, after):
    return [name for name in {*before, *after} if before.get(name) != after.get(name) and name]


# 4 -------------------------------------------------------------------------------------------------


def what_is_needed_comes_before(host, disturbed):
    with bench(disturbed) as one:
        spec = one.spec(host)
        resources, _ = resources_of(spec.host, one.kinds)
        needs = {
            ScopedAddress("bench", a): one.kinds[a.kind].reconciler.needs(me) for a, me in resources.items()
        }
        graph = Graph(needs)
        planned = [resource.at for resource in one.plan(spec).resources]
        place = {address: index for index, address in enumerate(planned)}
        one.apply(spec)
        for boot in _boots(one.journal()):
            first, last = {}, {}
            own = [line for line in boot if line["risk"] not in ("restart-vm", "power-off-vm")]
            for index, line in enumerate(own):  # who is stopped for others is away before them
                for name in line["addresses"]:
                    address = ScopedAddress("bench", Address.parse(name.removeprefix("bench/")))
                    first.setdefault(address, index)
                    last[address] = index
            for address, mine in place.items():
                for needed in graph.targets(address, How.REQUIRES, How.AFTER):
                    if needed in place:
                        assert place[needed] < mine
                    if needed in last and address in first:
                        assert last[needed] < first[address], boot


def _boots(journal):
    """The journal cut at the reboots: what a boot forgets is done again, after what was done before it."""
    boots = [[]]
    for line in journal:
        if line["effect"] == "reboot":
            boots.append([])
        else:
            boots[-1].append(line)
    return boots


# 5 -------------------------------------------------------------------------------------------------


def a_spec_that_is_dumped_and_loaded_is_the_same(host):
    with bench() as one:
        one.spec(host)
        (tree,) = load([one.file]).trees
        text = dump(tree)
        one.file.write_text(text)
        assert load([one.file]).trees == (tree,)
        assert dump(load([one.file]).trees[0]) == text


# 8 -------------------------------------------------------------------------------------------------


def what_the_spec_does_not_name_is_as_it_was(host, disturbed):
    with bench(disturbed) as one:
        files, machine = one.files(), one.machine()
        spec = one.spec(host)
        one.apply(spec)
        named = {kind: {r.name for r in spec.host.resources if r.address.kind == kind} for kind in one.kinds}
        installed = _closure(named["package"] | _alternatives(host), machine)
        allowed = _allowed_files(host, installed)
        touched = [name for name in _changed(files, one.files()) if not name.startswith(allowed)]
        assert touched == []
        _groups_are_as_they_were(files, one.files(), host, installed)
        _boot_entries_are_as_they_were(files, one.files(), spec)
        _reservations_of_others_are_as_they_were(files, one.files())
        if not any(line["effect"] == "reboot" for line in one.journal()):
            assert _rules_of_others(one.machine()) == _rules_of_others(machine)
        _the_rest_of_the_machine_is_as_it_was(machine, one.machine(), named, installed)


def _alternatives(host):
    texts = [one for one in host.get("packages", []) if isinstance(one, str)]
    return {part.strip() for text in texts for part in text.split("|")}


def _closure(names, machine):
    """Those packages, what they depend on, and what stands for a virtual one."""
    archive = machine["archive"]["packages"]
    found, todo = set(), list(names)
    while todo:
        name = todo.pop().partition("=")[0]
        if name not in found:
            found.add(name)
            for package in archive:
                if package["name"] == name:
                    todo += package["depends"]
                if name in package["provides"]:
                    todo.append(package["name"])
    return found


def _allowed_files(host, installed):
    allowed = ["etc/modules-load.d/cxlstate-", DROP_IN, GRUB_CFG]
    if host.get("dax") or host.get("mtrr"):
        allowed += [restore.SCRIPT.lstrip("/"), restore.UNIT_FILE.lstrip("/")]
    if host.get("users") or installed:
        allowed.append("etc/group")
    if host.get("users"):
        allowed += ["etc/passwd", "etc/shadow", *(f"home/{name}/.ssh/" for name in host["users"])]
    allowed += [path.lstrip("/") for path in host.get("files", {})]
    if "sshd" in host:
        allowed.append(sshd_config.DROP_IN.lstrip("/"))
    if installed:
        allowed += ["var/lib/apt/lists/", "var/lib/dpkg/updates/"]
    if "libvirt-daemon-config-network" in installed:
        allowed.append("etc/libvirt/qemu/networks/default.xml")
    if host.get("forwards"):
        allowed += [path.lstrip("/") for path in forwards.FILES]
    for name in host.get("networks", {}):
        allowed += [f"etc/libvirt/qemu/networks/{name}.xml", f"etc/cxlstate/networks/{name}"]
    allowed += [f"etc/libvirt/qemu/{name}.xml" for name in host.get("vms", {})]
    return tuple(allowed)


def _groups_are_as_they_were(before, after, host, installed):
    def groups(files):
        lines = (line.split(":") for line in files["etc/group"].decode().splitlines())
        return {line[0]: (line[1], line[2], set(filter(None, line[3].split(",")))) for line in lines}

    now, then = groups(before), groups(after)
    wanted = {(user, group) for user, its in host.get("users", {}).items() for group in its.get("groups", ())}
    for name, (password, number, members) in then.items():
        if name not in now:
            assert "libvirt-daemon-system" in installed or name in host.get("users", {})
            continue
        assert now[name][:2] == (password, number)
        assert {(user, name) for user in members - now[name][2]} <= wanted
    assert all(now[name][2] <= then[name][2] for name in now)
    assert {*now} - {*then} == set()
    for path in ("etc/passwd", "etc/shadow"):
        kept = [line for line in before[path].splitlines() if not _is_of(line, host)]
        assert set(kept) <= set(after[path].splitlines())


def _is_of(line, host):
    return line.decode().split(":")[0] in host.get("users", {})


def _boot_entries_are_as_they_were(before, after, spec):
    """Every line but our words on `linux` lines; of other words none goes, comes or moves."""
    text, then = (files[GRUB_CFG].decode() for files in (before, after))
    plain = [
        [line for line in one.split("\n") if not line.lstrip().startswith("linux\t")] for one in (text, then)
    ]
    assert plain[0] == plain[1]
    wanted, absent = _arguments(spec)
    for old, new in zip(grub_cfg.entries(text), grub_cfg.entries(then), strict=True):
        kept = [one for one in old.arguments if not any(kernel_cmdline.names(a, one) for a in absent)]
        assert _is_subsequence(kept, [*new.arguments])
        come = Counter(new.arguments) - Counter(old.arguments)
        assert set(come) <= wanted


def _reservations_of_others_are_as_they_were(before, after):
    path = "etc/libvirt/qemu/networks/default.xml"

    def theirs(files):
        return [line for line in files.get(path, b"").splitlines() if b"name='theirs'" in line]

    assert theirs(after) == theirs(before)


def _rules_of_others(machine):
    """In their order. What libvirt makes for a network comes and goes with it."""
    return [
        (variant, table, chain, rule)
        for variant, tables in machine["running"]["iptables"].items()
        for table, chains in tables.items()
        for chain, one in chains.items()
        for rule in one["rules"]
        if "LIBVIRT" not in chain + rule and "cxlstate" not in rule
    ]


def _arguments(spec):
    wanted, absent = [], []
    for resource in spec.host.resources:
        match resource.address.kind:
            case "grub":
                wanted += resource.spec.args
                absent += resource.spec.absent
            case "memmap":
                wanted += [entry.argument for entry in resource.spec.root]
            case "module" if resource.spec == "absent":
                wanted.append(f"modprobe.blacklist={resource.name.replace('-', '_')}")
    return set(map(kernel_cmdline.read, wanted)), list(map(kernel_cmdline.read, absent))


def _is_subsequence(short, long):
    rest = iter(long)
    return all(any(word == other for other in rest) for word in short)


def _the_rest_of_the_machine_is_as_it_was(before, after, named, installed):
    for key in ("login", "cpus", "firmware", "kernel_image", "autoload", "archive", "mtrr", "guests"):
        assert before[key] == after[key]
    firmware = after["mtrr"]["firmware"]
    assert [one for one in after["running"]["mtrr"] if one in firmware] == firmware
    changed = {
        name
        for name in {*before["installed"], *after["installed"]}
        if before["installed"].get(name) != after["installed"].get(name)
    }
    half = {
        name
        for name, one in before["installed"].items()
        if one["status"].split()[2] not in ("installed", "config-files")
    }
    assert changed <= installed | half
    brought = {
        unit
        for package in before["archive"]["packages"]
        if package["name"] in installed
        for unit in package["brings"]["units"]
    }
    units = {f"{name}.service" if "." not in name else name for name in named["service"]}
    units |= {name for name, one in before["units"].items() if set(one["aliases"]) & units}
    changed = {
        name
        for name in {*before["units"], *after["units"]}
        if before["units"].get(name) != after["units"].get(name)
    }
    assert changed <= units | brought


# Names -----------------------------------------------------------------------------------------------


def any_name_that_the_schema_takes_can_be_had(named):
    with bench() as one:
        spec = one.named(named)
        before = one.snapshot()
        live_text(one.plan(spec).machines[0], spec.file)
        assert one.snapshot() == before
        applied = one.apply(spec)
        assert not applied.diagnostics, applied.diagnostics
        plan = one.plan(spec)
        assert plan.exit is Exit.IN_SYNC, plan
        assert drift_text([plan]) == ""


# All of them as tests -------------------------------------------------------------------------------

ANY = st.one_of(sound(), faulty())
LAWS = {
    reading_and_planning_change_nothing: (ANY, disturbances()),
    a_sound_spec_is_in_force_after_one_apply_and_a_second_does_nothing: (
        sound(),
        st.none() | sound(),
        disturbances(),
    ),
    what_is_left_after_apply_was_the_specs_own_fault: (faulty(), disturbances()),
    what_is_needed_comes_before: (sound(), disturbances()),
    a_spec_that_is_dumped_and_loaded_is_the_same: (ANY,),
    what_the_spec_does_not_name_is_as_it_was: (ANY, disturbances()),
    any_name_that_the_schema_takes_can_be_had: (oddly_named(),),
}
EXAMPLES = int(os.environ.get("CXLSTATE_EXAMPLES", "10"))


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law):
    """The same examples every time unless CXLSTATE_RANDOM is set, as they are unless CXLSTATE_SHRINK is."""
    check = settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize="CXLSTATE_RANDOM" not in os.environ,
        database=None,
        phases=[Phase.generate, *([Phase.shrink] if "CXLSTATE_SHRINK" in os.environ else [])],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    check(given(*LAWS[law])(law))()
