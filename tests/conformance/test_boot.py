"""Facts of boots: GRUB's settings to grub.cfg to /proc/cmdline, and what the kernel makes of it.

As much as fits is in one boot.
"""

from __future__ import annotations

import pytest

from cxlstate.core.read import Attributes
from cxlstate.formats.grub_drop_in import DropIn
from cxlstate.machine.outcome import Result
from tests.conformance.machines import GRUB_CFG
from tests.lab.stages import Stage

DROP_IN = "/etc/default/grub.d/97-conformance.cfg"

# A word of GRUB's script → what the kernel's command line has of it.
WORDS = {
    r"fact1=a\$320b": "fact1=a$320b",
    r"fact2=x\;y\|z\&w\<v\>u": "fact2=x;y|z&w<v>u",
    r"'fact3=two words'": '"fact3=two words"',
    r'fact4="two  blanks"': '"fact4=two  blanks"',
    r"fact5=back\\slash": r"fact5=back\\slash",
    r"fact6=\"quoted\"": r"fact6=\"quoted\"",
    r"fact7=it\'s": r"fact7=it\'s",
    r"fact8=\\x41": r"fact8=\\x41",
    r"fact9=$nosuch.tail": "fact9=.tail",
    r"fact10=${nosuch}tail": "fact10=tail",
    r"fact11=\{\}\[\]\*\?": "fact11={}[]*?",
    r"fact12=a#b": "fact12=a#b",
    r"fact13=\#b": "fact13=#b",
    r"fact14=%s,~,!": "fact14=%s,~,!",
    r"fact15=": "fact15=",
    r"fact16=gr\ün": "fact16=grün",
    r'"fact17=\$1 in quotes"': '"fact17=$1 in quotes"',
    r"fact18=$320eaten": "fact18=eaten",
}


def single_quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def linux_lines(machine, *, recovery=False):
    lines = [
        line for line in machine.text(GRUB_CFG).splitlines() if line.lstrip().startswith("linux\t/boot/vm")
    ]
    return [line for line in lines if " ro single " in line] if recovery else lines


def regions(machine):
    return [line for line in machine.text("/proc/iomem").splitlines() if not line.startswith(" ")]


def test_a_setting_that_is_no_shell_stops_mkconfig_and_changes_nothing(machine):
    before = machine.text(GRUB_CFG)
    machine.write(DROP_IN, "GRUB_CMDLINE_LINUX='never closed\n")
    outcome = machine.generate()
    assert outcome.result is Result.FAILED
    assert DROP_IN in outcome.output
    assert machine.text(GRUB_CFG) == before
    machine.remove(DROP_IN)


@pytest.mark.long
def test_words_that_grub_does_not_take_stop_mkconfig_and_change_nothing(machine):
    before = machine.text(GRUB_CFG)
    machine.write(DROP_IN, """GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX it's"\n""")
    outcome = machine.generate()
    assert outcome.result is Result.FAILED
    assert "Syntax errors are detected in generated GRUB config file." in outcome.output
    assert machine.text(GRUB_CFG) == before
    machine.remove(DROP_IN)


@pytest.mark.long
def test_what_was_not_predicted_is_foreign_and_changes_nothing(machine):
    before = machine.text(GRUB_CFG)
    machine.write(DROP_IN, 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX foreign=1"\n')
    outcome = machine.generate(foreign=False)
    assert outcome.result is Result.FOREIGN
    assert "foreign=1" in outcome.output
    assert machine.text(GRUB_CFG) == before
    machine.remove(DROP_IN)
    assert machine.generate(foreign=False).result is Result.DONE


@pytest.fixture
def plain(machine):
    """The words of the first entry as they are without our settings."""
    return linux_lines(machine)[0].split()


BY_HAND = r"""
x=abcabc one="[one]" two=
: "${two:=[two  three]}"
L="$one $two ${x#*b}-${x%%b*}${x:+set}" # no comment
L=$L" a\\\"b 'c'"' \d'\ e
L="$L \
f#g"
export GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX $L"
"""


@pytest.mark.parametrize(
    ("script", "added", "dropped"),
    [
        (
            DropIn(("fact=2G$320G", "modprobe.blacklist=kmem"), ("nomodeset",)).render(),
            [r"fact=2G\$320G", "modprobe.blacklist=kmem"],
            ["nomodeset"],
        ),
        (
            BY_HAND,
            ["[one]", "[two", "three]", "cabc-aset", r"a\"b", "'c'", r"\d", "e", "f#g"],
            [],
        ),
    ],
    ids=["our-drop-in", "by-hand"],
)
@pytest.mark.changes
@pytest.mark.long
def test_shell_in_a_setting_comes_to_the_same(machine, plain, script, added, dropped):
    """Run by a shell on one machine, and read as the product reads it on the other."""
    machine.write(DROP_IN, script)
    assert machine.generate().result is Result.DONE
    words = linux_lines(machine)[0].split()
    machine.remove(DROP_IN)
    assert [word for word in words if word not in plain] == added
    assert [word for word in plain if word not in words] == dropped


def boot_with_hostile_arguments(machine):
    """What the facts below look at is what it came up with."""
    soft = machine.names.soft_reserved
    words = [
        *WORDS,
        "modprobe.blacklist=kmem",
        "module_blacklist=dummy",
        r"memmap=64M\$6G",
        "memmap=64M!6272M",
        r"memmap=64M\#6400M",
        f"memmap=64M!{soft}",
    ]
    machine.write(DROP_IN, f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX "{single_quoted(" ".join(words))}\n')
    machine.write("/etc/modules-load.d/conformance.conf", "# a comment\nkmem\nveth\n")
    mode = machine.mode(GRUB_CFG)
    assert machine.generate().result is Result.DONE
    assert machine.mode(GRUB_CFG) == mode == 0o600
    assert all(" ".join(words) in line for line in linux_lines(machine)), "every entry has them"
    assert linux_lines(machine, recovery=True)
    machine.run("systemctl", "enable", "fact-runs.service", "fact-fails.service")
    machine.run("systemctl", "start", "cron.service")
    machine.run("modprobe", "dummy")
    before = machine.text("/proc/sys/kernel/random/boot_id")
    machine.reboot()
    assert machine.text("/proc/sys/kernel/random/boot_id") != before


HOSTILE = Stage("hostile-arguments", boot_with_hostile_arguments)


@pytest.mark.stage(HOSTILE)
def test_the_command_line_has_each_argument_as_grub_hands_it_over(machine):
    line = machine.text("/proc/cmdline")
    assert line.startswith("BOOT_IMAGE=/boot/vmlinuz-")
    assert line.endswith("\n")
    assert [word for word in WORDS.values() if f" {word} " not in line] == []
    assert " ".join(WORDS.values()) in line


@pytest.mark.stage(HOSTILE)
def test_each_kind_of_memmap_has_its_line_in_iomem(machine):
    lines = regions(machine)
    assert "180000000-183ffffff : Reserved" in lines
    assert "188000000-18bffffff : Persistent Memory (legacy)" in lines
    assert "190000000-193ffffff : ACPI Tables" in lines
    assert "184000000-187ffffff : System RAM" in lines


@pytest.mark.stage(HOSTILE)
def test_soft_reserved_memory_cannot_be_carved_by_memmap(machine):
    lines = [line for line in regions(machine) if line.endswith(" : Soft Reserved")]
    assert len(lines) == 2, "it is only cut in two where the other range ends"
    assert sum(line.endswith(" : Persistent Memory (legacy)") for line in regions(machine)) == 1


@pytest.mark.stage(HOSTILE)
def test_the_firmwares_own_map_knows_nothing_of_it(machine):
    types = Attributes("/sys/firmware/memmap/*/type")
    assert "Persistent Memory (legacy)" not in machine.writer.read([types]).files(types).values()


@pytest.mark.changes
@pytest.mark.stage(HOSTILE)
def test_a_blacklisted_module_is_kept_out_and_loads_when_it_is_named(machine):
    assert "\nkmem " not in machine.text("/proc/modules")
    assert "System RAM (kmem)" not in machine.text("/proc/iomem")
    assert machine.run("modprobe", "kmem").status == 0
    assert "kmem " in machine.text("/proc/modules")
    outcome = machine.run("modprobe", "dummy")
    said = "modprobe: ERROR: could not insert 'dummy': Operation not permitted\n"
    assert (outcome.status, outcome.output) == (1, said)


@pytest.mark.stage(HOSTILE)
def test_what_was_loaded_is_gone_and_what_is_listed_is_there(machine):
    names = {line.split()[0] for line in machine.text("/proc/modules").splitlines()}
    assert "dummy" not in names
    assert "veth" in names


@pytest.mark.stage(HOSTILE)
def test_enabled_units_were_started(machine):
    ask = ("systemctl", "show", "--property=ActiveState,Id")
    shown = machine.ask(*ask, operands=("fact-runs.service", "fact-fails.service")).text
    assert shown == (
        "Id=fact-fails.service\nActiveState=failed\n\nId=fact-runs.service\nActiveState=active\n"
    )


@pytest.mark.long
@pytest.mark.changes
def test_a_boot_with_a_limit_and_with_overlaps(machine):
    """`memmap=` without a place takes RAM away, and the larger type wins."""
    words = ["memmap=7G", r"memmap=64M\#6G", "memmap=64M!6176M", r"memmap=128M\$6400M", r"memmap=64M@6432M"]
    machine.write(DROP_IN, f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX "{single_quoted(" ".join(words))}\n')
    assert machine.generate().result is Result.DONE
    machine.reboot()
    lines = regions(machine)
    ram = [line for line in lines if line.endswith(" : System RAM")]
    assert ram[-1] == "198000000-1bfffffff : System RAM"
    assert "180000000-181ffffff : ACPI Tables" in lines
    assert "182000000-183ffffff : Persistent Memory (legacy)" in lines, "PRAM is never merged"
    assert "184000000-185ffffff : Persistent Memory (legacy)" in lines
    assert "190000000-197ffffff : Reserved" in lines
    assert "kmem " in machine.text("/proc/modules")
    assert any(line.endswith(" : Soft Reserved") for line in lines)
