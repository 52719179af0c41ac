"""vCPUs and I/O threads of a definition: what libvirt fills in, and what it refuses.

Sources: libvirt 11.3 `src/conf/domain_conf.c` (`virDomainVcpuParse`, `virDomainDefParseIOThreads`,
`virDomainIOThreadPinDefParseXML`, `virDomainThreadSchedParseHelper`), `src/conf/domain_postparse.c`
(`virDomainVcpuDefPostParse`), `src/qemu/qemu_domain.c` (`qemuDomainDefVcpusPostParse`) and
`src/qemu/qemu_validate.c` (`qemuValidateDomainVCpuTopology`, `qemuValidateDomainDeviceDefDiskIOThreads`).
"""

from __future__ import annotations

from functools import partial
from typing import Final

from cxlstate.formats.domain_xml import meaning
from cxlstate.formats.domain_xml.read import iothread_ids, max_vcpu, plugged_vcpus, topology
from cxlstate.formats.xml import Element, set_attribute, take_out_all
from cxlstate.simulator.libvirt.refused import INTERNAL, UNSUPPORTED, XML, Refused
from cxlstate.simulator.libvirt.text import add, reordered, under

_WITHOUT_EIM: Final = 255
_NO_THREAD: Final = "Cannot find 'iothread' : {}"


def settle(root: Element) -> None:
    """Before the rest of a definition is looked at. Raises Refused."""
    one = under(root, "vcpu")
    one.text = one.text or "1"
    one.set("placement", one.get("placement", "static"))
    reordered(one, "placement", "cpuset", "current")
    if root.find("vcpus/vcpu") is not None:
        _check_range(root)
    elif len(plugged_vcpus(root)) > max_vcpu(root):
        why = "maximum vCPU count must not be less than current vCPU count"
        raise Refused(why, UNSUPPORTED)
    _iothreads(root)
    _pins(root)
    _schedulers(root)
    if root.find("vcpus/vcpu") is not None:
        _states(root)
    count = len(plugged_vcpus(root))
    set_attribute(one, "current", str(count) if count < max_vcpu(root) else None)


def check(root: Element) -> None:
    """What QEMU could not start with. Raises Refused."""
    if max_vcpu(root) > _WITHOUT_EIM and root.find("devices/iommu/driver[@eim='on']") is None:
        why = "more than 255 vCPUs require extended interrupt mode enabled on the iommu device"
        raise Refused(why, UNSUPPORTED)
    layout = root.find("cpu/topology")
    if layout is not None:
        found = topology(root)
        if found is not None and found.count != max_vcpu(root):
            raise Refused("CPU topology doesn't match maximum vcpu count", UNSUPPORTED)
        for name in ("dies", "clusters"):
            layout.set(name, layout.get(name, "1"))
        reordered(layout, "sockets", "dies", "clusters", "cores", "threads")
    threads = iothread_ids(root)
    for disk in root.findall("devices/disk"):
        driver, target = disk.find("driver[@iothread]"), disk.find("target")
        if driver is None or target is None:
            continue
        if target.get("bus") != "virtio":
            where = f"bus {target.get('bus')} target {target.get('dev')}"
            raise Refused(f"IOThreads not available for {where}", UNSUPPORTED)
        if int(driver.get("iothread", "")) not in threads:
            why = f"Disk iothread '{driver.get('iothread')}' not defined in iothreadid"
            raise Refused(why, UNSUPPORTED)


def _check_range(root: Element) -> None:
    for one in root.findall("vcpus/vcpu"):
        if int(one.get("id", "")) >= max_vcpu(root):
            why = f"vcpu id '{one.get('id')}' is out of range of maximum vcpu count"
            raise Refused(why, XML)


def _iothreads(root: Element) -> None:
    """The number is that of all of them, written down or not."""
    written = [int(one.get("id", "")) for one in root.findall("iothreadids/iothread")]
    for number in written:
        if written.count(number) > 1:
            raise Refused(f"duplicate iothread id '{number}' found", XML)
    if ids := iothread_ids(root):
        under(root, "iothreads").text = str(len(ids))
    else:
        take_out_all(root, "iothreads", "iothreadids")
    for number in ids if written else ():
        if number not in written:
            add(under(root, "iothreadids"), "iothread", {"id": str(number)})


def _pins(root: Element) -> None:
    """In the order of their threads; pins of vCPUs that are not there go without a word."""
    tune = root.find("cputune")
    if tune is None:
        return
    for tag, key in (("vcpupin", "vcpu"), ("iothreadpin", "iothread")):
        pins = sorted(tune.findall(tag), key=partial(_number, key))
        take_out_all(tune, tag)
        numbers = [_number(key, one) for one in pins]
        for one, number in zip(pins, numbers, strict=True):
            if tag == "iothreadpin" and number not in iothread_ids(root):
                raise Refused(_NO_THREAD.format(number), UNSUPPORTED)
            if numbers.count(number) > 1:
                whose = f"same iothread '{number}'" if tag == "iothreadpin" else f"vcpu '{number}'"
                raise Refused(f"duplicate {tag} for {whose}", INTERNAL)
            if tag == "iothreadpin" or number < max_vcpu(root):
                tune.append(one)
    if not len(tune):
        root.remove(tune)


def _number(key: str, one: Element) -> int:
    return int(one.get(key, ""))


def _schedulers(root: Element) -> None:
    for tag, key in (("vcpusched", "vcpus"), ("iothreadsched", "iothreads")):
        seen: frozenset[int] = frozenset()
        for one in root.findall(f"cputune/{tag}"):
            numbers = meaning.cpus(one.get(key))
            for number in sorted(numbers):
                if tag == "vcpusched" and number >= max_vcpu(root):
                    raise Refused(f"vCPU '{number}' is not present in domain definition", UNSUPPORTED)
                if tag == "iothreadsched" and number not in iothread_ids(root):
                    raise Refused(_NO_THREAD.format(number), UNSUPPORTED)
                if number in seen:
                    raise Refused(f"'{tag}' attributes '{key}' must not overlap")
            seen |= numbers


def _states(root: Element) -> None:
    """`<vcpus>` with every vCPU in it: one without a word is not plugged in, and can be."""
    told = {int(one.get("id", "")): dict(one.attrib) for one in root.findall("vcpus/vcpu")}
    take_out_all(under(root, "vcpus"), "vcpu")
    has_order, before = "order" in told.get(0, {}), {"hotpluggable": "no", "order": "1"}
    for number in range(max_vcpu(root)):
        state = {"enabled": "no", **told.get(number, {}), "id": str(number)}
        on = state["enabled"] == "yes"
        state.setdefault("hotpluggable", "no" if on else "yes")
        why = _wrong_state(number, state, before, on=on, has_order=has_order)
        if why:
            raise Refused(why, UNSUPPORTED)
        one = add(under(root, "vcpus"), "vcpu", {str(key): str(value) for key, value in state.items()})
        reordered(one, "id", "enabled", "hotpluggable", "order")
        before = {str(key): str(value) for key, value in state.items()}


def _wrong_state(
    number: int, state: dict[str, str], before: dict[str, str], *, on: bool, has_order: bool
) -> str | None:
    fixed = state["hotpluggable"] == "no"
    if fixed and not on:
        return f"vcpu '{number}' is both offline and not hotpluggable"
    if number == 0:
        if not on:
            return "vcpu 0 can't be offline"
        if not fixed:
            return "vcpu0 can't be hotpluggable"
        return "vcpu0 must be enabled first" if state.get("order", "1") != "1" else None
    if on and ("order" in state) != has_order:
        return "all vcpus must have either set or unset order"
    if fixed and before["hotpluggable"] == "yes":
        return "online non-hotpluggable vcpus need to be ordered prior to hotplugable vcpus"
    if fixed and int(before.get("order", 0)) > int(state.get("order", 0)):
        return "online non-hotpluggable vcpus must be ordered in ascending order"
    return None
