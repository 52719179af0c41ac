"""Hosts as they were met in the field, simulated: the plan, what an apply comes to, and what is told."""

from __future__ import annotations

import json

import pytest

from cxlstate.cli.main import _run
from cxlstate.core.read import Links
from cxlstate.simulator.folder import load, save
from cxlstate.simulator.reader import SimReader
from cxlstate.simulator.world import Dax, Extent
from cxlstate.simulator.writer import power_cut

GIB = 1 << 30
RELEASE = "6.12.117+deb13-amd64"
ABSENT = "modules: {kmem: absent}"
DEVICE = "dax: {cxl0: {range: {start: 322GiB, size: 96GiB}}}"
MEMMAP = "memmap: [{size: 2GiB, start: 320GiB, type: reserved}]"
COVER = "mtrr: {cxl0: {cover: dax.cxl0, within: {start: 320GiB, end: 448GiB}}}"


class Field:
    """A simulated host in a folder, and the specs for it."""

    def __init__(self, tmp_path, capsys):
        self.folder = tmp_path / "host"
        self.root = self.folder / "root"
        self._spec = tmp_path / "spec.yaml"
        self._capsys = capsys

    def run(self, verb, *words, host):
        """Exit status and all that is said."""
        head = ["apiVersion: cxlstate/v1", "host:", "  name: h", "  connect: sim:host"]
        lines = [*head, *(f"  {one}" for one in host)]
        self._spec.write_text("\n".join(lines) + "\n")
        status = _run([verb, *words, str(self._spec)])
        said = self._capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return status, said.out + said.err

    def make(self):
        """The default host."""
        self.run("plan", host=["packages: []"])

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def edit(self, change):
        world = load(self.folder)
        change(world)
        save(world, self.folder)

    def without_kmem(self):
        """A kernel that has no such module."""
        modules = self.root / f"lib/modules/{RELEASE}/modules.dep"
        lines = modules.read_text().splitlines(keepends=True)
        modules.write_text("".join(line for line in lines if "/kmem.ko" not in line))

    def reboot(self):
        power_cut(self.folder)

    @property
    def dax(self):
        return {name: (one.driver, one.memory_type) for name, one in load(self.folder).running.dax.items()}

    @property
    def links(self):
        return SimReader(self.folder, "h").read([Links("/dev/cxlstate/*")]).files(Links("/dev/cxlstate/*"))


@pytest.fixture
def field(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("CXLSTATE_DEBUG", raising=False)
    found = Field(tmp_path, capsys)
    found.make()
    return found


# Kmem is kept out, one way or another -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("etc/modprobe.d/blacklist-kmem.conf", "blacklist kmem\ninstall kmem /bin/false\n"),
        ("etc/modprobe.d/local.conf", "install kmem /bin/true\n"),
        ("usr/lib/modprobe.d/vendor.conf", "blacklist kmem\n"),
        ("run/modprobe.d/x.conf", "blacklist kmem\n"),
        ("usr/local/lib/modprobe.d/x.conf", "alias dax:t0* off\n"),
    ],
)
def test_a_host_that_keeps_kmem_out_itself_needs_no_argument_and_no_reboot(field, path, text):
    field.write(path, text)
    field.reboot()
    if path.startswith("run/"):  # it is gone with the power, and somebody writes it again
        field.write(path, text)
        field.edit(lambda world: world.running.modules.pop("kmem"))
        field.edit(lambda world: world.running.online.clear())
        field.edit(lambda world: [setattr(one, "driver", "") for one in world.running.dax.values()])
    status, said = field.run("plan", host=[DEVICE])
    assert (status, "CXD302" in said, "bind dax0.0" in said or "device_dax" in said) == (2, False, True)
    status, said = field.run("plan", host=[ABSENT, DEVICE])
    assert (status, "reboot" in said, "grub" in said) == (2, False, False)
    status, said = field.run("apply", "--yes", host=[ABSENT, DEVICE])
    assert (status, field.dax) == (0, {"dax0.0": ("device_dax", "write-back")})
    assert field.run("plan", host=[ABSENT, DEVICE])[0] == 0


def test_a_masked_blacklist_keeps_nothing_out(field):
    field.write("usr/lib/modprobe.d/vendor.conf", "blacklist kmem\n")
    (field.root / "etc/modprobe.d/vendor.conf").symlink_to("/dev/null")
    field.reboot()
    assert field.dax == {"dax0.0": ("kmem", "")}
    assert "CXD302" in field.run("plan", host=[DEVICE])[1]


def test_a_kernel_without_kmem_needs_nothing(field):
    field.without_kmem()
    field.reboot()
    status, said = field.run("apply", "--yes", host=[ABSENT, DEVICE])
    assert (status, "reboot" in said, field.dax) == (0, False, {"dax0.0": ("device_dax", "write-back")})


def test_a_command_that_is_not_known_is_told_and_not_guessed(field):
    field.write("etc/modprobe.d/local.conf", "install kmem /usr/local/sbin/setup\n")
    _, said = field.run("plan", host=[DEVICE])
    assert "CXD323" in said
    assert "`install kmem /usr/local/sbin/setup` in /etc/modprobe.d/local.conf runs a command" in said
    assert "CXD302" not in said


def test_kmem_that_is_built_in_gives_the_device_back_where_its_memory_stays_offline(field):
    field.without_kmem()
    with (field.root / f"lib/modules/{RELEASE}/modules.builtin").open("a") as file:
        file.write("kernel/drivers/dax/kmem.ko\n")
    field.reboot()
    status, said = field.run("plan", host=[DEVICE])
    assert (status, "CXD322" in said) == (1, True)
    assert "add to host.grub.args: memhp_default_state=offline" in said
    cured = ["grub: {args: [memhp_default_state=offline]}", DEVICE]
    status, said = field.run("apply", "--yes", "--allow", "reboot-host", host=cured)
    assert (status, field.dax) == (0, {"dax0.0": ("device_dax", "write-back")}), said
    field.reboot()  # the boot script takes it back from kmem
    assert (field.dax, bool(field.links)) == ({"dax0.0": ("device_dax", "write-back")}, True)
    assert field.run("plan", host=cured)[0] == 0
    with_mtrr = ["grub: {args: [memhp_default_state=offline]}", MEMMAP, DEVICE, COVER]
    status, said = field.run("apply", "--yes", "--allow", "reboot-host,foreign-boot", host=with_mtrr)
    assert (status, field.dax) == (0, {"dax0.0": ("device_dax", "uncached-minus")}), said
    field.reboot()
    assert (field.dax, bool(field.links)) == ({"dax0.0": ("device_dax", "uncached-minus")}, True)


def test_kmem_that_is_built_in_gives_it_back_before_its_mtrrs_are_written(field):
    field.without_kmem()
    with (field.root / f"lib/modules/{RELEASE}/modules.builtin").open("a") as file:
        file.write("kernel/drivers/dax/kmem.ko\n")
    host = ["grub: {args: [memhp_default_state=offline]}", MEMMAP, DEVICE, COVER]
    status, said = field.run("apply", "--yes", "--allow", "reboot-host,foreign-boot", host=host)
    assert (status, field.dax) == (0, {"dax0.0": ("device_dax", "uncached-minus")}), said


def test_the_cure_for_a_kmem_that_is_built_in_needs_no_other(field):
    """Each hint is followed to the letter; from the argument on a plan has no error."""
    with (field.root / f"lib/modules/{RELEASE}/modules.builtin").open("a") as file:
        file.write("kernel/drivers/dax/kmem.ko\n")
    field.reboot()
    cover = "mtrr: {cxl0: {cover: dax.cxl0}}"
    status, said = field.run("plan", host=[ABSENT, DEVICE, cover])
    assert (status, "memhp_default_state=offline" in said) == (1, True)
    host = ["grub: {args: [memhp_default_state=offline]}", DEVICE, cover]
    status, said = field.run("plan", host=host)
    assert (status, "error[" in said) == (2, False), said
    status, said = field.run("apply", "--yes", host=host)
    assert (status, "error[" in said, "mtrr.cxl0   blocked: waits for grub" in said) == (3, False, True), said
    assert field.run("apply", "--yes", "--allow", "reboot-host", host=host)[0] == 0
    assert field.run("plan", host=host)[0] == 0
    field.reboot()
    assert field.run("drift", host=host)[0] == 0


@pytest.mark.parametrize("built_in", [False, True])
def test_no_reboot_before_the_argument_is_written(field, built_in):
    if built_in:
        with (field.root / f"lib/modules/{RELEASE}/modules.builtin").open("a") as file:
            file.write("kernel/drivers/dax/kmem.ko\n")
        field.reboot()
    argument = "memhp_default_state=offline" if built_in else "modprobe.blacklist=kmem"
    field.write("etc/default/grub", 'GRUB_CMDLINE_LINUX="of.others=1"\n')
    host = [f"grub: {{args: [{argument}]}}", DEVICE, "mtrr: {cxl0: {cover: dax.cxl0}}"]
    before = load(field.folder).running.boot_id
    status, said = field.run("apply", "--yes", "--allow", "reboot-host", host=host)
    assert (status, "needs --allow foreign-boot" in said) == (4, True), said
    assert load(field.folder).running.boot_id == before
    status, said = field.run("apply", "--yes", "--allow", "reboot-host,foreign-boot", host=host)
    assert (status, field.dax) == (0, {"dax0.0": ("device_dax", "uncached-minus")}), said


@pytest.mark.parametrize("module", [True, False])
def test_what_modprobe_d_keeps_out_since_the_boot_waits_for_the_next(field, module):
    field.write("etc/modprobe.d/local.conf", "blacklist kmem\n")
    host = [*([ABSENT] if module else []), DEVICE, "mtrr: {cxl0: {cover: dax.cxl0}}"]
    status, said = field.run("apply", "--yes", host=host)
    assert (status, "error[" in said) == (3, False), said
    status, said = field.run("apply", "--yes", "--allow", "reboot-host", host=host)
    assert (status, field.dax) == (0, {"dax0.0": ("device_dax", "uncached-minus")}), said


def test_memory_that_is_onlined_in_spite_of_the_argument_waits_for_a_boot(field):
    """By a udev rule, as in Red Hat's 40-redhat.rules."""
    host = ["grub: {args: [memhp_default_state=offline]}", DEVICE]
    field.run("apply", "--yes", "--allow", "reboot-host,foreign-boot", host=host)
    field.write("etc/modprobe.d/local.conf", "blacklist kmem\n")

    def online(world):
        world.running.online[0].offline = False

    field.edit(online)
    status, said = field.run("apply", "--yes", host=host)
    assert (status, "dax.cxl0   pending reboot" in said) == (3, True), said
    assert field.run("apply", "--yes", "--allow", "reboot-host", host=host)[0] == 0


# The processor forces write-back ----------------------------------------------------------------------


def test_memory_that_stays_cached_gets_no_link_and_is_not_bound_again_for_ever(field):
    field.edit(lambda world: setattr(world.mtrr, "forced", hex(512 * GIB)))
    host = [ABSENT, MEMMAP, DEVICE, COVER]
    field.run("apply", "--yes", host=host)
    field.reboot()
    assert field.links == {}
    for verb in (("plan",), ("apply", "--yes")):
        status, said = field.run(*verb, host=host)
        assert (status, "CXD321" in said, "new_id" in said) == (1, True, False)
        assert "something else may be changing it back" not in said
    assert field.links == {}
    field.reboot()
    assert field.links == {}


def test_a_link_of_before_goes_when_the_memory_turns_out_to_be_cached(field):
    field.edit(lambda world: setattr(world.mtrr, "forced", hex(512 * GIB)))
    field.write("etc/modprobe.d/local.conf", "blacklist kmem\n")
    field.reboot()
    assert field.run("apply", "--yes", host=[DEVICE])[0] == 0
    assert field.links
    memory = ["mtrr: {cxl0: {cover: dax.cxl0}}"]
    status, said = field.run("apply", "--yes", host=[DEVICE, *memory])
    assert status == 1
    assert "mapped write-back" in said
    again = field.run("plan", host=[DEVICE, *memory])
    assert (again[0], "CXD321" in again[1]) == (1, True)
    uncachable = [one for one in load(field.folder).running.mtrr if int(one.base, 16) >= 4 * GIB]
    assert not (field.links and uncachable)


# A device of several ranges ---------------------------------------------------------------------------


@pytest.fixture
def two_ranges(field):
    """96 GiB, of which dax0.1 has the first and the last 32 GiB, and dax0.2 those between."""
    field.edit(lambda world: setattr(world.mtrr, "registers", 16))
    field.write("etc/modprobe.d/local.conf", "blacklist kmem\n")
    field.reboot()

    def split(world):
        parts = [(hex(at * GIB), hex((at + 32) * GIB - 1)) for at in (322, 354, 386)]
        outer = Dax(*parts[0], node=2, more=[Extent(*parts[2])])
        world.running.dax = {"dax0.1": outer, "dax0.2": Dax(*parts[1], node=2)}

    field.edit(split)
    return field


OUTER = "cxl0: {ranges: [{start: 322GiB, size: 32GiB}, {start: 386GiB, size: 32GiB}]}"
INNER = "cxl1: {range: {start: 354GiB, size: 32GiB}}"


def test_what_lies_between_the_ranges_of_a_device_is_left_alone(two_ranges):
    field = two_ranges
    device = f"dax: {{{OUTER}}}"
    assert field.run("apply", "--yes", host=[device])[0] == 0
    assert field.dax == {"dax0.1": ("device_dax", "write-back"), "dax0.2": ("", "")}
    exact = [device, "mtrr: {cxl0: {cover: dax.cxl0}}"]
    status, said = field.run("apply", "--yes", host=exact)
    assert (status, field.dax["dax0.1"]) == (0, ("device_dax", "uncached-minus")), said
    spans = [
        (int(one.base, 16), int(one.base, 16) + int(one.size, 16))
        for one in load(field.folder).running.mtrr
        if int(one.base, 16) >= 4 * GIB
    ]
    assert not any(start < 386 * GIB and end > 354 * GIB for start, end in spans)
    assert sum(end - start for start, end in spans) == 64 * GIB
    assert field.links == {"/dev/cxlstate/cxl0": "../dax0.1"}
    assert field.run("plan", host=exact)[0] == 0


def test_both_devices_are_told_apart(two_ranges):
    status, said = two_ranges.run("apply", "--yes", host=[f"dax: {{{OUTER}, {INNER}}}"])
    assert status == 0, said
    assert two_ranges.links == {"/dev/cxlstate/cxl0": "../dax0.1", "/dev/cxlstate/cxl1": "../dax0.2"}


def test_sysfs_sum_of_a_device_of_several_ranges_names_none(two_ranges):
    status, said = two_ranges.run("plan", host=["dax: {cxl0: {range: {start: 322GiB, size: 64GiB}}}"])
    assert (status, "CXD307" in said) == (1, True)


def test_show_has_every_range_once(two_ranges):
    _, said = two_ranges.run("show", "--json", host=[f"dax: {{{OUTER}}}"])
    rows = json.loads(said)["machines"][0]["memory_map"]["rows"]
    found = sorted((row["name"], row["start"], row["size"]) for row in rows if row["kind"] == "dax")
    assert found == [
        ("dax0.1", hex(322 * GIB), 32 * GIB),
        ("dax0.1", hex(386 * GIB), 32 * GIB),
        ("dax0.2", hex(354 * GIB), 32 * GIB),
    ]


# Kernels that do not name Soft Reserved memory --------------------------------------------------------


@pytest.fixture
def newest(field):
    """The same host with Linux 7.3."""
    for folder in (field.root / "lib/modules").iterdir():
        folder.rename(folder.with_name(folder.name.replace("6.12.1", "7.3.1")))
    for file in (field.root / "boot").iterdir():
        if "6.12.1" in file.name:
            file.rename(file.with_name(file.name.replace("6.12.1", "7.3.1")))
    grub = field.root / "boot/grub/grub.cfg"
    grub.write_text(grub.read_text().replace("6.12.1", "7.3.1"))
    field.write("etc/modprobe.d/local.conf", "blacklist kmem\n")
    field.reboot()
    return field


def test_the_memory_of_a_device_is_known_without_the_name(newest):
    iomem = newest.run("show", "--json", host=[DEVICE])[1]
    rows = json.loads(iomem)["machines"][0]["memory_map"]["rows"]
    assert [(row["name"], row["kind"]) for row in rows if row["start"] == hex(322 * GIB)] == [
        ("Soft Reserved", "soft-reserved"),
        ("dax0.0", "dax"),
    ]
    status, said = newest.run("plan", host=["dax: {cxl0: {range: {start: 418GiB, size: 96GiB}}}"])
    assert (status, "CXD303" in said) == (1, True)
    over = ["memmap: [{size: 2GiB, start: 322GiB, type: reserved}]"]
    assert "CXM302" in newest.run("plan", host=over)[1]


def test_the_whole_setup_is_applied_and_proven_there(newest):
    host = [ABSENT, MEMMAP, DEVICE, COVER]
    newest.run("apply", "--yes", "--allow", "foreign-boot", host=host)
    newest.reboot()
    status, said = newest.run("apply", "--yes", host=host)
    assert (status, newest.dax) == (0, {"dax0.0": ("device_dax", "uncached-minus")}), said
    newest.reboot()
    assert (newest.dax, newest.run("plan", host=host)[0]) == ({"dax0.0": ("device_dax", "uncached-minus")}, 0)


def test_memory_of_another_device_that_nobody_has_is_seen_under_a_window(newest):
    def add(world):
        world.firmware.append(type(world.firmware[0])("0x6900000000", "0x69ffffffff", "Soft Reserved"))

    newest.edit(add)
    host = [ABSENT, MEMMAP, DEVICE, COVER]
    newest.run("apply", "--yes", "--allow", "foreign-boot", host=[ABSENT, MEMMAP])
    newest.reboot()
    said = newest.run("plan", host=host)[1]
    assert "CXT312" in said
