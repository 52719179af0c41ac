"""10_linux as distributions ship it: which words of an entry are the script's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxlstate.formats.grub_linux_script import KNOWN, Begins, Else, NotUnderstood, Slot, read

CAPTURED = Path(__file__).parents[1] / "resources/grub/captured"
ROOTFLAGS = Begins("rootflags=subvol=")
LINUX, DEFAULT = Slot.LINUX, Slot.DEFAULT


def script(name):
    return read((CAPTURED / f"10_linux_{name}").read_text())


def test_debian_12_sets_the_recovery_words_itself():
    found = script("debian12")
    assert set(found.recovery) == {
        (*head, *flags, LINUX) for head in (("recovery",), ("single",)) for flags in ((), (ROOTFLAGS,))
    }
    assert (LINUX, DEFAULT, Begins("init=")) in found.normal
    assert not any("$vt_handoff" in template for template in found.normal)


def test_debian_13_keeps_the_configured_recovery_words():
    found = script("debian13")
    assert {template[0] for template in found.recovery} == {Else(("single",)), Else(("recovery",))}
    assert set(found.normal) == {(LINUX, DEFAULT), (ROOTFLAGS, LINUX, DEFAULT)}


def test_ubuntu_adds_words_of_its_own():
    found = script("ubuntu")
    assert ("recovery", "nomodeset", "dis_ucode_ldr", LINUX, "panic=-1") in found.recovery
    assert (LINUX, DEFAULT, "$vt_handoff") in found.normal
    assert (LINUX, DEFAULT, "panic=-1") in found.normal
    assert (LINUX, DEFAULT, Begins("init="), "panic=-1") in found.normal
    assert not any(LINUX not in template for template in found.normal)


@pytest.mark.parametrize("name", ["debian12", "debian13", "ubuntu"])
def test_what_is_assumed_without_a_script_has_the_forms_of_every_known_one(name):
    found = script(name)
    fewer = {template for template in found.recovery if not {"nomodeset", "panic=-1"} <= set(template)}
    assert fewer <= set(KNOWN.recovery)
    assert {one for one in found.normal if len(one) < len((LINUX, DEFAULT, 1, 1))} <= set(KNOWN.normal)


@pytest.mark.parametrize(
    ("line", "normal"),
    [
        ('GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX site=1"', {(LINUX, "site=1", DEFAULT)}),
        ('if [ -e /x ]; then\nGRUB_CMDLINE_LINUX_DEFAULT="a $GRUB_CMDLINE_LINUX_DEFAULT"\nfi',
         {(LINUX, DEFAULT), (LINUX, "a", DEFAULT)}),
        ('if [ -e /x ]; then\nGRUB_CMDLINE_LINUX="b"\nelif [ -e /y ]; then\nGRUB_CMDLINE_LINUX="c"\nfi',
         {("b", DEFAULT), ("c", DEFAULT), (LINUX, DEFAULT)}),
        ("# GRUB_CMDLINE_LINUX=$(whatever)", {(LINUX, DEFAULT)}),
    ],
)  # fmt: skip
def test_edits_of_the_script_are_read(line, normal):
    text = f'{line}\nlinux_entry "a" "b" simple "${{GRUB_CMDLINE_LINUX}} ${{GRUB_CMDLINE_LINUX_DEFAULT}}"\n'
    assert set(read(text).normal) == normal


def test_words_around_the_arguments_are_the_scripts_own():
    text = (
        "\tlinux\t${rel_dirname}/${basename} root=${x} ro first=1 ${args} last=${y}\n"
        'linux_entry "a" "b" simple "${GRUB_CMDLINE_LINUX}"\n'
    )
    assert read(text).normal == (("first=1", LINUX, Begins("last=")),)


@pytest.mark.parametrize(
    "line",
    [
        'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX $(cat /etc/site)"',
        "GRUB_CMDLINE_LINUX=`cat /etc/site`",
        'GRUB_CMDLINE_LINUX="$SITE"',
        "eval GRUB_CMDLINE_LINUX=x",
        "read -r GRUB_CMDLINE_LINUX < /etc/site",
        'linux_entry "a" "b" simple "${GRUB_CMDLINE_LINUX%quiet}"',
        "linux ro " * 10_000,
        "linux \\\n" * 10_000,
        "# a comment ends with its line \\\nGRUB_CMDLINE_LINUX=`cat /etc/site`",
    ],
)  # fmt: skip
def test_what_only_a_shell_can_tell_is_not_understood(line):
    with pytest.raises(NotUnderstood):
        read(line)
