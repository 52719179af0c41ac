"""GRUB's menu: which entry boots, what its variables hold."""

from __future__ import annotations

import pytest

from cxlstate.formats import grub_menu, grub_script
from cxlstate.formats.grub_menu import chosen, environment, menu, variables
from tests.conformance.test_boot import WORDS

MENU = """\
set default="${saved_entry}"
### BEGIN /etc/grub.d/10_linux ###
function gfxmode {
	set gfxpayload="${1}"
}
menuentry 'A' --class debian $menuentry_id_option 'a-simple' {
	linux	/vmlinuz-2 root=/dev/vda1 ro quiet
}
submenu 'More > A' $menuentry_id_option 'a-more' {
	menuentry "B" --class debian --id b {
		linux	/vmlinuz-1 root=/dev/vda1 ro
	}
	menuentry 'C' --id=c {
		linux	/vmlinuz-0 root=/dev/vda1 ro
	}
}
### END /etc/grub.d/10_linux ###
### BEGIN /etc/grub.d/40_custom ###
menuentry Memory {
	linux16	/memtest
}
### END /etc/grub.d/40_custom ###
"""


def test_entries_know_their_script_their_id_and_their_kernel():
    found = grub_menu.entries(menu(MENU))
    assert [(one.title, one.id, one.section) for one in found] == [
        ("A", "a-simple", "10_linux"),
        ("B", "b", "10_linux"),
        ("C", "c", "10_linux"),
        ("Memory", "", "40_custom"),
    ]
    assert found[0].kernels == [(7, ("/vmlinuz-2", "root=/dev/vda1", "ro", "quiet"))]


@pytest.mark.parametrize(
    ("wanted", "title"),
    [
        ("0", "A"),
        ("1", "B"),
        ("1>1", "C"),
        ("2", "Memory"),
        ("a-more>c", "C"),
        ("More >> A>b", "B"),
        ("Memory", "Memory"),
        ("9", "A"),
        ("gone", "A"),
        ("", "A"),
        ("a-more>gone", "B"),
    ],
)
def test_the_default_is_a_number_a_title_or_an_id(wanted, title):
    item = chosen(menu(MENU), wanted)
    assert item is not None
    assert item.title == title


ONE_LINERS = """\
menuentry 'Reboot' { reboot }
menuentry "a { b" --id one --class x { linux /vmlinuz root=/dev/vda1 ro ; initrd /initrd.img } # mine
submenu "More" {
  menuentry 'Off' --id off {halt}
}
"""


def test_an_entry_may_stand_on_one_line():
    found = menu(ONE_LINERS)
    assert [(one.title, one.id) for one in found] == [("Reboot", ""), ("a { b", "one"), ("More", "")]
    assert found[1].kernels == [(2, ("/vmlinuz", "root=/dev/vda1", "ro"))]
    assert [one.id for one in found[2].items or []] == ["off"]


def test_an_environment_block_is_read():
    block = (
        "# GRUB Environment Block\n# WARNING\nsaved_entry=a>b\nmemmap_val=8G$8G\nnext_entry=\n" + "#" * 900
    )
    assert environment(block) == {"saved_entry": "a>b", "memmap_val": "8G$8G", "next_entry": ""}


@pytest.mark.parametrize(
    ("word", "readings"),
    [
        ("memmap=$memmap_val", {("memmap=8G$8G",), ("memmap=",)}),
        ("$tuned", {("isolcpus=1", "nohz=on"), ()}),
        ('"$tuned"', {('"isolcpus=1  nohz=on"',), ("",)}),
        ("$nothing", {()}),
        ("x$nothing", {("x",)}),
        ("a$?", {("a0",)}),
        ("a$#", {("a1",)}),
        ("a$0b", {("ab",)}),
        ("a$2b", {("ab",)}),
        ("2G$1G", {("2GDebian", "GNU/LinuxG")}),
        ("2G$@", {("2GDebian", "GNU/Linux")}),
        ('"$*"', {('"Debian GNU/Linux"',)}),
        (r"2G\$1G", {("2G$1G",)}),
        (r"2G\\$1G", {(r"2G\\Debian", "GNU/LinuxG")}),
        ("'2G$1G'", {("2G$1G",)}),
        ("$found", {(f"{grub_script.UNEXPANDED}found",)}),
        ("$prefix/x", {(f"{grub_script.UNEXPANDED}prefix/x",)}),
        ("$many", {("one",), ("two",), ()}),
    ],
)
def test_words_are_read_with_the_values_that_are_known(word, readings):
    text = """\
set tuned="isolcpus=1  nohz=on"
# set nothing=1
search --no-floppy --set=found --label x
if [ a = b ]; then set many=one; else set many=two; fi
"""
    known = grub_menu.variables(text, {"memmap_val": "8G$8G"})
    values = grub_menu.values(known, "Debian GNU/Linux")
    assert set(grub_script.readings(word, values)) == readings


@pytest.mark.parametrize("word", WORDS)
def test_words_are_read_as_the_emulated_host_was_seen_to_hand_them_over(word):
    assert grub_script.readings(word, grub_menu.values({}, "Debian GNU/Linux")) == ((WORDS[word],),)


CUSTOM = "#!/bin/sh\nexec tail -n +3 $0\nmenuentry 'New' {\n\tlinux /new root=/dev/vda1\n}\n"


def test_grub_cfg_as_it_will_be_has_what_40_custom_holds_by_now():
    titles = [one.title for one in menu(grub_menu.regenerated(MENU, CUSTOM))]
    assert titles == ["A", "More > A", "New"]
    assert grub_menu.regenerated(MENU, CUSTOM.replace("exec tail", "cat")) == MENU
    assert grub_menu.regenerated("", CUSTOM) == ""
    assert grub_menu.regenerated(MENU, "") == MENU


@pytest.mark.parametrize(
    "text", ["menuentry " + " " * 10**6 + "x", "menuentry x" + " " * 10**6 + "x {", "\n" * 10**6]
)
def test_blanks_take_no_time(text):
    menu(text)
    variables(text, {})


def test_a_custom_cfg_behind_two_blanks_is_no_other_file():
    assert "" not in variables("  source  ${config_directory}/custom.cfg\n", {})
    assert "" in variables("\n  source  /boot/grub/other.cfg\n", {})
