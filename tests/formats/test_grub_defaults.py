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


def by_shell(text: str, shell: str = SHELL) -> str | None:
    """The value that a shell has in the end; None where it fails."""
    script = f'exec 3>&1 >/dev/null\n{text}\nprintf "%s" "${NAME}" >&3\n'
    done = subprocess.run(
        [shell, *(["--posix"] if shell.endswith("bash") else []), "-e", "-c", script],
        check=False,
        env={},
        cwd="/proc",
        capture_output=True,
        timeout=10,
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
        # What only looks at them sets nothing
        (f'{NAME}=a\nif [ -z "${NAME}" ]; then X=1; fi', "a"),
        (f'{NAME}=a\necho "adding to: ${{{NAME}:-nothing}}" >&2', "a"),
        (f"{NAME}=a\ncat <<E\n${NAME}\nE\n", "a"),
        (f"{NAME}='2G$320G'", "2G$320G"),
        (f'{NAME}="memmap=2G\\$320G"', "memmap=2G$320G"),
        # As tuned, cloud images and drop-ins of projects add to it
        (f'{NAME}=quiet\n{NAME}="${{{NAME}:+${{{NAME}}} }}nvme_core.x=0"', "quiet nvme_core.x=0"),
        (f'{NAME}="${{{NAME}:+${{{NAME}}} }}nvme_core.x=0"', "nvme_core.x=0"),
        (f"{NAME}=a\n{NAME}=\"${{{NAME}:+${NAME} }}\"'b c'", "a b c"),
        (f'tuned_params="a b"\n{NAME}="${{{NAME}:+${NAME} }}${{tuned_params-}}"', "a b"),
        (f"{NAME}=${{{NAME}-a b}}", "a b"),
        (f"{NAME}=\n{NAME}=${{{NAME}-a}}", ""),
        (f"{NAME}=\n{NAME}=${{{NAME}:-a}}", "a"),
        (f"{NAME}=${{{NAME}+a}}", ""),
        (f"{NAME}=\n{NAME}=${{{NAME}+a}}", "a"),
        (f"{NAME}=${{{NAME}_X:=a}}${{{NAME}_X}}", "aa"),
        (f"{NAME}=\n{NAME}=${{{NAME}=a}}b", "b"),
        (f': "${{{NAME}:=quiet}}"', "quiet"),
        (f"{NAME}=a\n{NAME}=${{{NAME}:?no}}b", "ab"),
        (f"X=abc\n{NAME}=${{#X}}${{X#a}}${{X%c}}${{X#x}}", "3bcababc"),
        (f"X=a.b.c\n{NAME}=${{X%.*}}-${{X%%.*}}-${{X#*.}}-${{X##*.}}", "a.b-a-b.c-c"),
        (f"X='a*b'\n{NAME}=${{X#'a*'}}${{X%\\*b}}${{X#a?}}", "bab"),
        (f'X=quiet\nY=qu\n{NAME}="${{X#$Y}}"', "iet"),
        (f"X=`date`\n{NAME}=${{X+a}}", "a"),
        (f"X=a\n{NAME}=${{X:-$(date)}}", "a"),
        (f'{NAME}="${{{NAME}:-a\'b}}"', "a'b"),
        (f'{NAME}="${{{NAME}:-a\\}}b}}"', "a}b"),
        (f"{NAME}=${{{NAME}:-${{{NAME}_X:-${{{NAME}_Y-deep}}}}}}", "deep"),
        (f"cat >/dev/null <<E\nX=1\nE\n{NAME}=a", "a"),
        (f"cat >/dev/null <<-'E' ; X=1\n\tE\n{NAME}=a", "a"),
        (f"export {NAME}=a \\\n  X=1", "a"),
    ],
)
def test_the_subset_gives_what_a_shell_gives(text: str, value: str) -> None:
    assert evaluate([("f", text)])[NAME] == value


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        (f'\n{NAME}="a $(uname -r)"', 2, "a command's output"),
        (f"{NAME}=`date`", 1, "a command's output"),
        (f"if true; then\n  {NAME}=a\nfi", 2, "more than a plain assignment"),
        (f"true && {NAME}=a", 1, "more than a plain assignment"),
        (f"true &&\n{NAME}=a", 2, "more than a plain assignment"),
        (f"f() {{\n{NAME}=a\n}}", 2, "more than a plain assignment"),
        (f"{NAME}+=a", 1, "`+=` is understood by bash only"),
        (f"{NAME}=a true", 1, "more than a plain assignment"),
        (f"unset {NAME}", 1, "more than a plain assignment"),
        ("\n. /etc/default/other", 2, "reads another file"),
        ("if true; then . /x; fi", 1, "reads another file"),
        ("eval $X", 1, "runs text"),
        (f'{NAME}="$FOO"', 1, "$FOO, which is not set here"),
        (f'X=`date`\n{NAME}="$X"', 2, "$X"),
        (f"{NAME}=${{X:-a}}", 1, "$X, which is not set here"),
        (f"X=1\n{NAME}=${{X/1/2}}", 2, "a parameter expansion (${X/1/2})"),
        (f'X=a\n{NAME}="${{X:+$(tr a b < /etc/a-file-with-a-long-name)}}"', 2, "a-file-with-a-long-name)"),
        (f"{NAME}=$((1 + 2))", 1, "arithmetic ($((1 + 2)))"),
        (f"{NAME}=${{{NAME}:?no}}", 1, "at which the shell ends"),
        (f"X=1\nunset X\n{NAME}=$X", 3, "$X"),
        (f"X=1\nif true; then X=2; fi\n{NAME}=$X", 3, "$X"),
        (f"f() {{ X=2; }}\nX=1\nf\n{NAME}=$X", 4, "$X"),
        (f"X=1\nX=2 :\n{NAME}=$X", 3, "$X"),
        (f"X=1\n: ${{Y:=$(date)}} ${{X}}\n{NAME}=$Y", 3, "$Y"),
        (f"{NAME}=a\r\n\r\n", 1, "CR LF"),
        (f"{NAME}=~/a", 1, "a ~"),
        (f"{NAME}='a", 1, "a single quote is not closed"),
        (f'{NAME}="a\nb"', 1, "a line break"),
        ("if true\n", 1, "not closed"),
        (f"cat <<E\n{NAME}=x\nE\n", 1, "more than a plain assignment"),
        (f"X='a b'\nexport {NAME}=$X", 2, "more than a plain assignment"),
        ("exit 0", 1, "ends the script"),
        (f"if ${NAME}; then X=1; fi", 1, "more than a plain assignment"),
        (f'[ -n "${{{NAME}:=a}}" ] || X=1', 1, "more than a plain assignment"),
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
        "${X:+",
        f"${{{NAME}:+${{{NAME}}} }}",
        f"${{{NAME}-",
        f"${{{NAME}:=",
        "${X%",
        "${X##",
        "${#X}",
        "}",
        ": ",
        "*",
        "?",
        "X=abcab\n",
        "X=\n",
        "unset X\n",
        "f() { X=2; }\n",
        "f\n",
        "cat <<E\n",
        "\nE\n",
    ]
)

EXPANSIONS = st.recursive(
    st.sampled_from(["a", "b c", "$X", "${Y}", "'q r'", '"s $X"', "\\}", "\\*", "*", "?", "'", ""]),
    lambda inner: st.tuples(
        st.sampled_from(["X", "Y", NAME, f"{NAME}_Z"]),
        st.sampled_from([":-", ":+", ":=", ":?", "-", "+", "=", "?", "#", "##", "%", "%%"]),
        st.lists(inner, max_size=3).map("".join),
    ).map(lambda three: f"${{{three[0]}{three[1]}{three[2]}}}"),
    max_leaves=6,
)


@pytest.mark.parametrize("shell", [one for one in map(shutil.which, ("dash", "bash")) if one])
@settings(max_examples=200, deadline=None)
@given(
    st.lists(EXPANSIONS, min_size=1, max_size=3).map("".join),
    st.sampled_from(["", "X=", "X=abcab", "X='a*b'", "X=a;Y=b"]),
    st.booleans(),
)
def test_an_expansion_comes_to_what_dash_and_bash_make_of_it(
    shell: str, text: str, before: str, quoted: object
) -> None:
    script = f'{before}\n{NAME}="{text}"' if quoted else f"{before}\n{NAME}={text}"
    try:
        value = evaluate([("f", script)])[NAME]
    except NotUnderstood:
        return
    assert by_shell(script, shell) == value


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_whatever_is_understood_a_real_shell_agrees_with(text: str) -> None:
    try:
        value = evaluate([("f", text)])[NAME]
    except NotUnderstood:
        return
    real = by_shell(text)
    assert real is None or real == value


@pytest.mark.parametrize("name", ["A", "GRUB_CMDLINE_LINUX"])
def test_a_value_that_doubles_at_each_line_is_not_told(name: str) -> None:
    text = f"{name}=x\n" + f'{name}="${name}${name}${name}${name}"\n' * 40
    if name == "A":
        assert evaluate([("f", text)])[name] == ""
    else:
        with pytest.raises(NotUnderstood, match="more than 8192 characters"):
            evaluate([("f", text)])


def test_the_time_for_a_long_file_grows_with_its_length() -> None:
    evaluate([("f", "\n" * 200_000 + "A=" + "x" * 200_000 + "\nGRUB_CMDLINE_LINUX=a\n")])
