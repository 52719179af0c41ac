"""`/etc/default/grub` is read and never run; what comes out is what a real shell would have."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxlstate.formats.grub_defaults import NotUnderstood, evaluate

SHELL = shutil.which("dash") or "/bin/sh"
NAME = "GRUB_CMDLINE_LINUX"


def by_shell(text: str) -> str | None:
    """The value that a shell has in the end; None where it fails."""
    script = f'exec 3>&1 >/dev/null\n{text}\nprintf "%s" "${NAME}" >&3\n'
    done = subprocess.run(
        [SHELL, "-e", "-c", script], check=False, env={}, cwd="/proc", capture_output=True, timeout=10
    )
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        (f"{NAME}=quiet", "quiet"),
        (f"{NAME}='a \\$b' # comment", r"a \$b"),
        (f'{NAME}="a \\$b \\\\\\$c \\x"', r"a $b \$c \x"),
        (f"{NAME}=a\\ b", "a b"),
        (f'{NAME}="a \\\nb"', "a b"),
        (f"{NAME}=a; {NAME}=b", "b"),
        (f'{NAME}=a\n{NAME}="${NAME} b"', "a b"),
        (f'X=1\n{NAME}="${{X}}${{X}}"', "11"),
        (f"{NAME}=a\nexport {NAME}", "a"),
        (f'export {NAME}="a b"', "a b"),
        (f"{NAME}='a'\"b\"c", "abc"),
        (f'{NAME}="${NAME}_DEFAULT x"', " x"),
        (f"{NAME}=a#b", "a#b"),
        (f"{NAME}=a\nif true; then echo hi; fi", "a"),
        (f"X=`( . /etc/os-release && echo ${{NAME}} )` Y=$(echo ')')\n{NAME}=a", "a"),
        (f'{NAME}=a\n[ -n "$X" ] && echo b || echo "(c" \\\n  d', "a"),
        (f"case x in a) echo 1 ;; x|y) echo 2 ;; esac\nf() {{ echo 3; }}\n{NAME}=a", "a"),
        (f"{NAME}='2G$320G'", "2G$320G"),
        (f'{NAME}="memmap=2G\\$320G"', "memmap=2G$320G"),
    ],
)
def test_the_subset_gives_what_a_shell_gives(text: str, value: str) -> None:
    assert evaluate([("f", text)])[NAME] == value


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        (f'\n{NAME}="a $(uname -r)"', 2, "a command's output"),
        (f"{NAME}=`date`", 1, "a command's output"),
        (f'{NAME}="memmap=2G$320G"', 1, "the shell's own $3"),
        (f"if true; then\n  {NAME}=a\nfi", 2, "more than a plain assignment"),
        (f"true && {NAME}=a", 1, "more than a plain assignment"),
        (f"true &&\n{NAME}=a", 2, "more than a plain assignment"),
        (f"f() {{\n{NAME}=a\n}}", 2, "more than a plain assignment"),
        (f"{NAME}+=a", 1, "more than a plain assignment"),
        (f"{NAME}=a true", 1, "more than a plain assignment"),
        (f"unset {NAME}", 1, "more than a plain assignment"),
        ("\n. /etc/default/other", 2, "reads another file"),
        ("if true; then . /x; fi", 1, "reads another file"),
        ("eval $X", 1, "runs text"),
        (f'{NAME}="$FOO"', 1, "$FOO, which is not set here"),
        (f'X=`date`\n{NAME}="$X"', 2, "$X"),
        (f"{NAME}=${{X:-a}}", 1, "a parameter expansion"),
        (f"{NAME}=~/a", 1, "a ~"),
        (f"{NAME}='a", 1, "a single quote is not closed"),
        (f'{NAME}="a\nb"', 1, "a line break"),
        ("if true\n", 1, "not closed"),
        (f"cat <<E\n{NAME}=x\nE\n", 1, "more than a plain assignment"),
        (f"X='a b'\nexport {NAME}=$X", 2, "more than a plain assignment"),
        ("exit 0", 1, "ends the script"),
    ],
)
def test_what_only_a_shell_could_tell_is_told_with_its_line(text: str, line: int, why: str) -> None:
    with pytest.raises(NotUnderstood) as raised:
        evaluate([("/etc/default/grub", text)])
    assert (raised.value.file, raised.value.line) == ("/etc/default/grub", line)
    assert why in raised.value.why


def test_later_files_see_earlier_values_and_assignments_know_their_place() -> None:
    found = evaluate([("a", f"X=1\n{NAME}=a"), ("b", f'# x\n\n{NAME}="${NAME} $X"')])
    assert found[NAME] == "a 1"
    assert [one.place for one in found.assignments] == ["a:2", "b:3"]


PIECES = st.sampled_from(
    [
        *"ab =;#'\"\\$`~*&|(){}\n\t",
        "${X}",
        "$X",
        "$(echo y)",
        "`echo z`",
        "$1",
        "export ",
        "if true; then ",
        "; fi",
        f"{NAME}=",
        f"\n{NAME}=",
        f"${NAME}",
        "X=1\n",
        "'a b'",
        '"c $X"',
        "\\\n",
        "true && ",
        "${Y:-d}",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_whatever_is_understood_a_real_shell_agrees_with(text: str) -> None:
    try:
        value = evaluate([("f", text)])[NAME]
    except NotUnderstood:
        return
    real = by_shell(text)
    assert real is None or real == value
