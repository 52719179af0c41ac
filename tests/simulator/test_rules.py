"""The simulator's rules by themselves: memory map, boot loader, versions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxlstate.formats import grub_menu, grub_script
from cxlstate.formats.grub_drop_in import DropIn
from cxlstate.simulator import loader
from cxlstate.simulator.files import Files
from cxlstate.simulator.memory import RAM, SOFT_RESERVED, Range, boot_map, parse_number
from cxlstate.simulator.mkconfig import mkconfig
from cxlstate.simulator.versions import version_key

MIB, GIB = 1 << 20, 1 << 30
FIRMWARE = [
    Range(0, 0x9FC00, RAM),
    Range(MIB, 2 * GIB, RAM),
    Range(4 * GIB, 8 * GIB, RAM),
    Range(8 * GIB, 9 * GIB, SOFT_RESERVED),
]


@pytest.mark.parametrize(
    ("memmap", "ranges"),
    [
        ("1G!5G", [(4, 5, 1), (5, 6, 12), (6, 8, 1), (8, 9, SOFT_RESERVED)]),
        ("1G$5G,1G#6G", [(4, 5, 1), (5, 6, 2), (6, 7, 3), (7, 8, 1), (8, 9, SOFT_RESERVED)]),
        ("1g$0x140000000", [(4, 5, 1), (5, 6, 2), (6, 8, 1), (8, 9, SOFT_RESERVED)]),
        ("5G", [(4, 5, 1), (8, 9, SOFT_RESERVED)]),
        ("6G20G", [(4, 6, 1), (8, 9, SOFT_RESERVED)]),
        ("1G%5G-1+2", [(4, 5, 1), (5, 6, 2), (6, 8, 1), (8, 9, SOFT_RESERVED)]),
        ("1G%5G-1", [(4, 5, 1), (6, 8, 1), (8, 9, SOFT_RESERVED)]),
        ("1G%10G+12", [(4, 8, 1), (8, 9, SOFT_RESERVED), (10, 11, 12)]),
        ("1G%8G-0xefffffff+1", [(4, 9, 1)]),
        ("exactmap,1G@4G", [(4, 5, 1)]),
        ("nonsense", [(4, 8, 1), (8, 9, SOFT_RESERVED)]),
        ("1G@8G", [(4, 8, 1), (8, 9, SOFT_RESERVED)]),
    ],
)
def test_memmap_as_the_kernel_takes_it(memmap, ranges):
    found = boot_map(FIRMWARE, [("memmap", memmap)])
    assert [(one.start / GIB, one.end / GIB, one.type) for one in found if one.start >= 4 * GIB] == ranges


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("010", (8, "")),
        ("0x10G!", (16 * GIB, "!")),
        ("2g$", (2 * GIB, "$")),
        ("08", (0, "8")),
        ("!", (None, "!")),
    ],
)
def test_numbers_as_the_kernel_takes_them(text, number):
    assert parse_number(text) == number


def test_the_boot_loader_stops_where_grub_does():
    """Each was tried with grub-script-check of GRUB 2.12."""
    for word in ("a|b", "a&b", "a<b", "{", "}", "it's", 'a"b', "$", "a$", "${x", "$(x)", "$-"):
        with pytest.raises(loader.GrubSyntaxError):
            loader.words(f"linux /boot/vmlinuz-1 {word}")
    for word in ("a;b", "#b", "a #b", "${x}", "$x", "*", "[a]", "a=$320G", "`x`", "!"):
        assert loader.words(f"linux /boot/vmlinuz-1 {word}")[:2] == ["linux", "/boot/vmlinuz-1"]


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="'\\\""), min_size=1))
def test_what_the_product_quotes_for_grub_comes_out_of_the_loader_unchanged(argument):
    (word,) = loader.words(grub_script.quote(argument))
    assert loader._for_kernel(word) == argument


VARIABLES = {"tuned": "isolcpus=1  nohz=on", "one": "1", "1": "Debian GNU/Linux"}


@given(
    st.lists(
        st.sampled_from(
            ["a", "=", "$0", "$1", "${1}", "$320G", "$tuned", "${one}", "$no", '"', "'", "\\", "$@", "$#"]
        )
    )
)
def test_the_product_reads_a_word_as_the_loader_does(parts):
    """Written apart from each other, from GRUB's source."""
    word = "".join(parts)
    try:
        handed_over = loader.words(word, VARIABLES)
        product = grub_script.split(word)
    except (loader.GrubSyntaxError, grub_script.GrubSyntaxError):
        return
    known = {name: [value] for name, value in VARIABLES.items() if name != "1"}
    values = grub_menu.values(known, VARIABLES["1"])
    read = [text for one in product for text in grub_script.readings(one, values)[0]]
    assert read == list(map(loader._for_kernel, handed_over))


ENTRIES = """\
set default="${saved_entry}"
menuentry 'A' $menuentry_id_option 'a' {
	linux	/boot/vmlinuz-1 root=/dev/vda1 ro x=$1
}
menuentry 'B C' $menuentry_id_option 'b' {
	linux	/boot/vmlinuz-1 root=/dev/vda1 ro x=$1 $value
}
"""


@pytest.mark.parametrize(
    ("environment", "line", "left"),
    [
        (None, "x=A", None),
        ("saved_entry=b\nvalue=y z\n", "x=B C y z", "saved_entry=b\nvalue=y z\n"),
        ("saved_entry=b\nnext_entry=a\n", "x=A", "saved_entry=b\nnext_entry=\n"),
        ("saved_entry=gone\n", "x=A", "saved_entry=gone\n"),
    ],
)
def test_the_environment_block_says_which_entry_boots(tmp_path, environment, line, left):
    files = Files(tmp_path, {}, privileged=True)
    files.write(loader.CONFIGURATION, ENTRIES.encode())
    files.write("/boot/vmlinuz-1", b"")
    if environment is not None:
        files.write(loader.ENVIRONMENT, f"# GRUB Environment Block\n{environment}".encode())
    assert loader.boot(files) == ("1", f"BOOT_IMAGE=/boot/vmlinuz-1 root=/dev/vda1 ro {line}")
    if left is not None:
        assert files.text(loader.ENVIRONMENT) == f"# GRUB Environment Block\n{left}"


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ('for x in a b; do GRUB_CMDLINE_LINUX="$x"; done\n', ":1: GRUB_CMDLINE_LINUX… is used in more than"),
        ("A=1\nGRUB_CMDLINE_LINUX='open\n", ":2: "),
        ("GRUB_CMDLINE_LINUX=$(cat /x)\n", ":1: the value of GRUB_CMDLINE_LINUX holds"),
        (". /etc/os-release\n", ":1: `.`: it reads another file"),
    ],
)
def test_settings_that_the_product_cannot_read_are_refused(tmp_path, setting, why):
    files = Files(tmp_path, {}, privileged=True)
    files.write("/etc/default/grub", b"")
    files.write("/etc/default/grub.d/50-x.cfg", setting.encode())
    ended, text = mkconfig(files)
    assert (ended.status, text) == (1, None)
    assert f"/etc/default/grub.d/50-x.cfg{why}" in ended.stderr


def test_our_drop_in_does_what_it_says_to_what_stands_before_it(tmp_path):
    files = Files(tmp_path, {}, privileged=True)
    drop_in = DropIn(("a=$1",), ("quiet",)).render().encode()
    files.write("/etc/default/grub", b'GRUB_CMDLINE_LINUX="quiet b"\nGRUB_CMDLINE_LINUX_DEFAULT=quiet\n')
    files.write("/etc/default/grub.d/50-x.cfg", drop_in)
    files.write("/etc/default/grub.d/60-x.cfg", b'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX c"\n')
    files.write("/boot/vmlinuz-1", b"")
    _, text = mkconfig(files)
    (line, *_) = [line for line in (text or b"").decode().splitlines() if "\tlinux\t" in line]
    assert line.split(" ro ")[1].split() == ["b", r"a=\$1", "c"]


def test_versions_sort_as_debian_has_them():
    ordered = [
        "1.0~rc1",
        "1.0",
        "1.0-1",
        "1.0-1+b1",
        "1.0-2",
        "1.0a",
        "1.0+dfsg",
        "1.0.1",
        "1.2",
        "1.10",
        "1:0.1",
    ]
    shuffled = ordered[::-1]
    assert sorted(shuffled, key=version_key) == ordered
