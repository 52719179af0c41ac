"""Stopped behind any step, a simulated machine is one that the same effect brings to its end."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from hashlib import sha256

import pytest

from cxlstate.core.action import Generate, RemoveFile, Run, WriteFile
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.file import Unpack
from cxlstate.core.read import Attributes, Command, File
from cxlstate.machine.outcome import Entry, Result
from cxlstate.simulator.faults import Faults, PowerCut
from cxlstate.simulator.folder import load
from cxlstate.simulator.loader import NoBoot
from cxlstate.simulator.reader import SimReader
from cxlstate.simulator.writer import SimWriter, power_cut
from tests.tarballs import tarball

ENTRY = Entry("run", ("test",), "a test", "live")
GRUB_CFG = "/boot/grub/grub.cfg"
DROP_IN = "/etc/default/grub.d/99-test.cfg"
INSTALL = Run(("apt-get", "--yes", "install"), ("libvirt-daemon-system",))
DATABASE = Command(("dpkg-query", "--show", r"--showformat=${Package} ${Status}\n"))


def prepare(directory):
    with SimWriter(directory, "host") as writer:
        writer.perform(Run(("apt-get", "update")), ENTRY)
        writer.perform(WriteFile("/etc/test", b"before"), ENTRY)
        writer.perform(WriteFile(DROP_IN, b'GRUB_CMDLINE_LINUX="memmap=2G!320G"\n'), ENTRY)


def text(directory, path):
    return SimReader(directory, "host").read([File(path)]).text_or_none(File(path))


def digest(directory, path):
    content = text(directory, path)
    return None if content is None else sha256(content.encode()).hexdigest()


def write(directory):
    return WriteFile("/etc/test", b"after", expected=digest(directory, "/etc/test"))


def generate(directory):
    before = text(directory, GRUB_CFG).encode()
    argv = ("grub-mkconfig", "-o")
    return Generate(GRUB_CFG, argv, b"", expected=sha256(before).hexdigest(), foreign=True)


EFFECTS = {
    "write": (write, lambda d: text(d, "/etc/test") == "after"),
    "generate": (generate, lambda d: "memmap=2G!320G" in text(d, GRUB_CFG)),
    "modprobe": (lambda _: Run(("modprobe", "dummy")), lambda d: "dummy " in text(d, "/proc/modules")),
    "start": (
        lambda _: Run(("systemctl", "stop", "ssh")),
        lambda d: "ssh.service" not in load(d).running.units,
    ),
}


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("stop_at", range(1, 6))
def test_an_effect_that_was_stopped_can_be_done_again(tmp_path, name, stop_at):
    directory = tmp_path / "host"
    prepare(directory)
    effect, done = EFFECTS[name]
    faults = Faults(stop_at=stop_at)
    writer = SimWriter(directory, "host", faults=faults)
    with suppress(PowerCut):  # an effect has fewer steps than the longest
        writer.perform(effect(directory), ENTRY)
    writer.close()
    with SimWriter(directory, "host") as again:
        assert again.perform(effect(directory), ENTRY).result is Result.DONE
    assert done(directory)
    assert list((directory / "root").rglob(".*.cxlstate")) == [], "no draft is left"


def test_a_file_is_whole_before_and_after_it_is_replaced(tmp_path):
    prepare(tmp_path / "host")
    seen = []
    for stop_at in range(1, 6):
        directory = tmp_path / f"host{stop_at}"
        prepare(directory)
        writer = SimWriter(directory, "host", faults=Faults(stop_at=stop_at))
        with pytest.raises(PowerCut) if stop_at < 5 else nullcontext():
            writer.perform(write(directory), ENTRY)
        writer.close()
        seen.append(text(directory, "/etc/test"))
    assert seen == ["before", "before", "after", "after", "after"]


def test_a_tarball_is_unpacked_whole_or_not_at_all(tmp_path):
    effect, there = Unpack("/usr/src/tree.tar.xz", "/usr/src/tree"), []
    for stop_at in range(1, 6):
        directory = tmp_path / f"host{stop_at}"
        with SimWriter(directory, "host") as writer:
            writer.perform(WriteFile(effect.archive, tarball({"tree/Makefile": "all:\n"})), ENTRY)
        writer = SimWriter(directory, "host", faults=Faults(stop_at=stop_at))
        with pytest.raises(PowerCut):
            writer.perform(effect, ENTRY)
        writer.close()
        there.append((directory / "root/usr/src/tree").exists())
        with SimWriter(directory, "host") as again:
            result = again.perform(effect, ENTRY).result
        assert result is (Result.STALE if there[-1] else Result.DONE)
        assert text(directory, "/usr/src/tree/Makefile") == "all:\n"
        assert list((directory / "root").rglob(".*.cxlstate")) == [], "no draft is left"
    assert there == [False, False, True, True, True]


def test_a_stopped_removal_is_done_or_not_begun(tmp_path):
    for stop_at, there in ((1, True), (2, False), (3, False)):
        directory = tmp_path / f"host{stop_at}"
        prepare(directory)
        writer = SimWriter(directory, "host", faults=Faults(stop_at=stop_at))
        with pytest.raises(PowerCut):
            writer.perform(RemoveFile("/etc/test", digest(directory, "/etc/test")), ENTRY)
        writer.close()
        assert (text(directory, "/etc/test") is not None) is there


@pytest.mark.slow
def test_packages_stopped_anywhere_are_finished_by_dpkg_and_apt(tmp_path):
    whole = Faults()
    prepare(tmp_path / "whole")
    with SimWriter(tmp_path / "whole", "host", faults=whole) as writer:
        writer.perform(INSTALL, ENTRY)
    halves = set()
    for stop_at in range(1, len(whole.steps)):
        directory = tmp_path / f"host{stop_at}"
        prepare(directory)
        writer = SimWriter(directory, "host", faults=Faults(stop_at=stop_at))
        with pytest.raises(PowerCut):
            writer.perform(INSTALL, ENTRY)
        writer.close()
        status = SimReader(directory, "host").read([DATABASE]).text(DATABASE)
        halves |= {line.split()[-1] for line in status.splitlines()}
        power_cut(directory)
        with SimWriter(directory, "host") as again:
            again.perform(Run(("dpkg", "--configure", "-a")), ENTRY)
            assert again.perform(INSTALL, ENTRY).result is Result.DONE
            status = again.read([DATABASE]).text(DATABASE)
        assert "libvirt-daemon-system install ok installed" in status
        assert {line.split()[-1] for line in status.splitlines()} == {"installed"}
        assert "libvirt:" in text(directory, "/etc/group")
    assert {"unpacked", "half-configured"} <= halves


def test_when_the_connection_is_lost_the_effect_goes_on(tmp_path):
    directory = tmp_path / "host"
    prepare(directory)
    writer = SimWriter(directory, "host", faults=Faults(lose_at=1))
    with pytest.raises(CxlstateError) as error:
        writer.perform(write(directory), ENTRY)
    assert error.value.diagnostics[0].code == "CXC303"
    assert "a test" in error.value.diagnostics[0].message
    with pytest.raises(CxlstateError):
        writer.read([File("/etc/test")])
    writer.close()
    assert text(directory, "/etc/test") == "after"


def test_a_power_cut_takes_what_is_volatile_and_leaves_the_files(tmp_path):
    directory = tmp_path / "host"
    prepare(directory)
    with SimWriter(directory, "host") as writer:
        writer.perform(generate(directory), ENTRY)
        writer.perform(Run(("modprobe", "dummy")), ENTRY)
        writer.perform(Run(("systemctl", "stop", "ssh")), ENTRY)
        writer.record({"grub": "applied"})
    before = text(directory, "/proc/sys/kernel/random/boot_id")
    power_cut(directory)
    assert text(directory, "/proc/sys/kernel/random/boot_id") != before
    assert "dummy " not in text(directory, "/proc/modules")
    assert "5000000000-507fffffff : Persistent Memory (legacy)" in text(directory, "/proc/iomem")
    records = Attributes("/var/lib/cxlstate/applied/*")
    kept = SimReader(directory, "host").read([records]).files(records)
    assert kept == {"/var/lib/cxlstate/applied/grub": "applied"}
    state = Command(("systemctl", "show", "--property=ActiveState"), ("ssh.service",))
    assert SimReader(directory, "host").read([state]).text(state) == "ActiveState=active\n"


def test_a_machine_that_does_not_come_up_is_told_and_comes_up_when_mended(tmp_path):
    directory = tmp_path / "host"
    prepare(directory)
    grub_cfg = directory / "root/boot/grub/grub.cfg"
    good = grub_cfg.read_text()
    grub_cfg.write_text(good.replace("nomodeset", "'never closed"))
    writer = SimWriter(directory, "host")
    with pytest.raises(CxlstateError) as error:
        writer.reboot(ENTRY, lambda _: None)
    assert error.value.diagnostics[0].code == "CXC306"
    writer.close()
    with pytest.raises(CxlstateError) as error:
        text(directory, "/etc/test")
    assert error.value.diagnostics[0].code == "CXC402"
    assert "GRUB finds no end of the '" in error.value.diagnostics[0].found
    with pytest.raises(NoBoot):
        power_cut(directory)
    grub_cfg.write_text(good)
    SimWriter(directory, "host").close()
    assert text(directory, "/etc/test") == "before"
