"""The simulator's rules by themselves: memory map, boot loader, shell, versions."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxlstate.formats import grub_menu, grub_script
from cxlstate.simulator import loader
from cxlstate.simulator.files import Files
from cxlstate.simulator.memory import RAM, SOFT_RESERVED, Range, boot_map, parse_number
from cxlstate.simulator.sh_parse import ShellError
from cxlstate.simulator.sh_run import Shell
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


SCRIPTS = [
    "A=1 B=$A C=\"$A $B\" D='$A'\n",
    'A="a b"; B=${A#a }; C=${A%% *}; D=${A:+set}; E=${NONE:-none}; F=${NONE-"x y"}\n',
    'A=\\a\\ b\\\nc; B="\\a\\$\\\\"; C=a\\"b\n',
    'f() { B=$1; shift; C="$#:$*"; return 3; }\nf one "two three" four || D=$?\n',
    'for x in a b c; do [ "$x" = b ] && continue; A="$A$x"; done\n',
    'A=abcdef; while [ -n "$A" ]; do B="${A%"${A#?}"}$B"; A=${A#?}; case $A in ef) break ;; esac; done\n',
    'case a*c in "a*c") A=quoted ;; *) A=no ;; esac; case abc in a*c) B=glob ;; esac\n',
    'case x-y in x[-_]y | z) A=1 ;; esac; case "" in ?*) B=some ;; *) B=none ;; esac\n',
    "if false; then A=1; elif [ 2 -gt 1 ]; then A=2; else A=3; fi; ! true || B=1\n",
    'A="x  y"; set -- $A z; B=$2; C=$#; D="$@"\n',
    'A=$(echo hidden)kept; unset A; until [ "$B" = xx ]; do B=x$B; done # done\n',
    "export A=1 B='2 3'; { C=$A; D=$B; }\n",
    'A=abc; B=${#A}${A:?no}${A?no}; C=${E:=new}$E; D="${F:-a}${F+b}"\n',
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_pure_shell_comes_to_what_a_real_one_does(script):
    shell = Shell()
    shell.source(script)
    show = "".join(f'printf "%s=%s\\n" {name} "${name}"\n' for name in "ABCDEF")
    real = subprocess.run(["sh", "-c", script + show], capture_output=True, text=True, check=True, env={})
    expected = dict(line.split("=", 1) for line in real.stdout.splitlines())
    expected["A"] = "" if "hidden" in script else expected["A"]
    assert {name: shell.variables.get(name, "") for name in "ABCDEF"} == expected


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("touch /tmp/file\n", "runs no programs: touch"),
        (". /etc/os-release\n", "runs no programs: ."),
        ("A=1\nB='open\n", "line 2: a single quote is not closed"),
        ("while true; do :; done\n", "does not end"),
        ("echo text > /etc/file\n", "> is not understood"),
        ("if true; then\n", "fi is missing"),
        ("A=${B:?no}\n", "B: parameter not set or null"),
    ],
)
def test_what_the_pure_shell_cannot_do_it_tells(script, why):
    with pytest.raises(ShellError, match=why):
        Shell().source(script)


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
