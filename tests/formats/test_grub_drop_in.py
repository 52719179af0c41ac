"""The drop-in does in a real shell what its model in Python says, and is recognised byte for byte."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxlstate.formats import grub_script
from cxlstate.formats.grub_drop_in import CommandLines, DropIn, recognise
from cxlstate.formats.sh import quote

SHELLS = [path for name in ("dash", "bash") if (path := shutil.which(name))]
NAMES = ("GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT", "GRUB_CMDLINE_LINUX_RECOVERY")


def sourced(shell: str, folder: Path, lines: CommandLines, drop_in: DropIn) -> CommandLines:
    """As grub-mkconfig does it: `set -e`, assignments, then our file."""
    file = folder / "zz-cxlstate.cfg"
    file.write_text(drop_in.render())
    values = (lines.linux, lines.default, lines.recovery)
    script = ["set -e", *(f"{name}={quote(value)}" for name, value in zip(NAMES, values, strict=True))]
    script += [f". {quote(str(file))}", *(f'printf "%s\\0" "${name}"' for name in NAMES)]
    done = subprocess.run([shell, "-c", "\n".join(script)], check=True, capture_output=True, timeout=30)
    assert done.stderr == b""
    return CommandLines(*done.stdout.decode().split("\0")[:3])


def _carried(text: str) -> bool:
    try:
        grub_script.quote(text)
    except ValueError:
        return False
    return True


argument = st.text(alphabet='ab-_=.,$#!;|&(){}`*?[]~"', min_size=1, max_size=8).filter(_carried)
pattern = st.from_regex(r"[ab_-]{1,3}(=[ab_.,:+-]{0,3})?", fullmatch=True)
value = st.text(alphabet="ab-_= \t\"'$`\\*?[]();&|{}~.é\n", max_size=30)


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.builds(CommandLines, value, value, value),
    st.builds(
        DropIn,
        st.lists(argument, max_size=3).map(tuple),
        st.lists(pattern, max_size=3, unique=True).map(tuple),
    ),
)
def test_a_real_shell_does_what_the_model_says(
    shell: str, tmp_path: Path, lines: CommandLines, drop_in: DropIn
) -> None:
    assert sourced(shell, tmp_path, lines, drop_in) == drop_in.apply(lines)


@given(
    st.builds(
        DropIn,
        *[st.lists(argument, max_size=3).map(tuple), st.lists(pattern, max_size=3).map(tuple)] * 2,
    )
)
def test_what_was_made_is_recognised_and_an_edit_is_not(drop_in: DropIn) -> None:
    text = drop_in.render()
    assert recognise(text) == drop_in
    assert recognise(text + "\n") is None
    assert recognise(text.replace("cxlstate", "cxlstat", 1)) is None


@pytest.mark.parametrize(
    "text", ["", "GRUB_CMDLINE_LINUX=a\n", "# cxlstate drop-in 1 {}\n", "# cxlstate drop-in 1 [[]]"]
)
def test_a_file_of_somebody_else_is_not_ours(text: str) -> None:
    assert recognise(text) is None


def test_hostile_arguments_stay_text(tmp_path: Path) -> None:
    hostile = ("a=$(touch${IFS}pwned)", "b=`reboot`", "c=;reboot;", "d=${x}", "e=|&<>", "#f")
    drop_in = DropIn(add=hostile)
    made = sourced(SHELLS[0], tmp_path, CommandLines("quiet"), drop_in)
    assert tuple(map(grub_script.expand, grub_script.split(made.linux))) == ("quiet", *hostile)


def test_a_filter_takes_whole_words_only() -> None:
    lines = CommandLines('quiet nomodeset=1 xnomodeset no-mode-set a="b nomodeset c"', "nomodeset", "")
    assert DropIn(drop=("nomodeset",)).apply(lines) == CommandLines(
        'quiet xnomodeset no-mode-set a="b nomodeset c"', "", ""
    )
    assert DropIn(drop=("no_mode-set",)).apply(lines).linux.split()[2] == "xnomodeset"
