"""Which entry a grub.cfg boots, and whether that is certain."""

from __future__ import annotations

import pytest

from cxlstate.formats.grub_default import Default, defaults

HEADER = """\
### BEGIN /etc/grub.d/00_header ###
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="VALUE"
fi
### END /etc/grub.d/00_header ###
"""
SAVED = HEADER.replace("VALUE", "${saved_entry}")
FIRST = HEADER.replace("VALUE", "0")
CORRECTION = """\
if [ "x$default" = 'Debian, with Linux 6.1' ]; then default='More>Debian, with Linux 6.1'; fi;
"""
BY_GRUB_DEFAULT = "GRUB_DEFAULT in /etc/default/grub"
BY_SAVED = "saved_entry in /boot/grub/grubenv"
BY_CUSTOM = "`set default` in /etc/grub.d/40_custom"


@pytest.mark.parametrize(
    ("text", "environment", "value", "source"),
    [
        (FIRST, {}, "0", BY_GRUB_DEFAULT),
        (SAVED, {}, "", BY_SAVED),
        (SAVED, {"saved_entry": "c"}, "c", BY_SAVED),
        (SAVED, {"saved_entry": "c", "next_entry": "Memory"}, "Memory", "next_entry in /boot/grub/grubenv"),
        (SAVED, {"saved_entry": "c", "next_entry": ""}, "c", BY_SAVED),
        ('set default="1>2"\n', {"saved_entry": "c"}, "1>2", BY_GRUB_DEFAULT),
        ("", {"saved_entry": "c"}, "0", BY_GRUB_DEFAULT),
        (  # title_correction_code of 10_linux
            HEADER.replace("VALUE", "Debian, with Linux 6.1") + CORRECTION,
            {},
            "More>Debian, with Linux 6.1",
            BY_GRUB_DEFAULT,
        ),
    ],
)
def test_what_grubenv_says_goes_before_grub_cfg(text, environment, value, source):
    assert defaults(text, environment) == (Default(value, source),)


@pytest.mark.parametrize(
    ("custom", "values"),
    [
        ("set default=2", {"2": True}),
        ("if [ a = b ]; then\n  set default=2\nfi", {"0": False, "2": False}),
        ("if [ a = b ]; then set default=2; fi", {"0": False, "2": False}),
        ("if [ a = b ]; then set default=2; else set default='3' ; fi", {"2": False, "3": False}),
        ("if [ a = b ]; then default=2\nelif [ b = c ]\nthen\n default=3\nfi", dict.fromkeys("230", False)),
        ("if [ a = b ]; then\n set default=2\nfi\nset default=1", {"1": True}),
        ("for x in 1 2; do\n set default=$x; set default=2\ndone", {"2": False, "0": False}),
        ("function pick {\n  set default=2\n}", {"2": False, "0": False}),
        ("menuentry 'x' {\n  set default=2\n}", {"0": True}),
        ("menuentry 'x' { set default=2; configfile /x }", {"0": True}),
        ("submenu 'x' {\n  menuentry 'y' {\n set default=2\n}\n}", {"0": True}),
        ("echo 'if [ a ]; then'\nset default=2 # if", {"2": True}),
        ("# if\nset default=2", {"2": True}),
    ],
)
def test_a_value_that_a_condition_decides_on_is_one_of_several(custom, values):
    text = f"{FIRST}### BEGIN /etc/grub.d/40_custom ###\n{custom}\n### END /etc/grub.d/40_custom ###\n"
    found = defaults(text, {})
    assert {one.value: one.certain for one in found} == values
    assert {one.source for one in found} == {BY_GRUB_DEFAULT if v == "0" else BY_CUSTOM for v in values}


def test_custom_cfg_has_the_last_word():
    assert defaults(f"{FIRST}set default=3\n", {}) == (
        Default("3", "`set default` in /boot/grub/custom.cfg"),
    )
