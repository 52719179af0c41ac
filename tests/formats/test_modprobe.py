"""Whether a module is kept out at boot, by each kind of evidence and by all of it together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxlstate.core.answers import Answer, Answers
from cxlstate.formats import modprobe
from cxlstate.formats.modprobe import FILES, KMEM, MASKS, Fate, Line, fate

DEBIAN = "BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 ro quiet"
FILE = "/etc/modprobe.d/local.conf"


def lines(*texts: str) -> list[Line]:
    return [Line(FILE, tuple(text.split()), text) for text in texts]


@pytest.mark.parametrize(
    ("arguments", "by"),
    [
        ("modprobe.blacklist=kmem", "modprobe.blacklist=kmem"),
        ("modprobe.blacklist=nouveau,kmem", "modprobe.blacklist=nouveau,kmem"),
        ("modprobe.blacklist=kmem modprobe.blacklist=nouveau", "modprobe.blacklist=kmem"),
        ("module_blacklist=nouveau,kmem", "module_blacklist=nouveau,kmem"),
        ("module_blacklist=kmem module_blacklist=nouveau", None),  # a parameter: its last value counts
        ("module_blacklist=nouveau module_blacklist=kmem", "module_blacklist=kmem"),
        ("initcall_blacklist=dax_kmem_init", "initcall_blacklist=dax_kmem_init"),
        ("initcall_blacklist=a,dax_kmem_init initcall_blacklist=b", "initcall_blacklist=a,dax_kmem_init"),
        ('"modprobe.blacklist=kmem"', '"modprobe.blacklist=kmem"'),
        ("modprobe.blacklist=kmemx", None),
        ("modprobe.blacklist", None),
        ("blacklist=kmem", None),
        ("quiet -- modprobe.blacklist=kmem", None),  # for init
    ],
)
def test_an_argument_of_the_kernel_keeps_it_out(arguments: str, by: str | None) -> None:
    assert fate(KMEM, f"{DEBIAN} {arguments}\n", ()) == Fate(by)


@pytest.mark.parametrize(
    ("text", "kept_out"),
    [
        ("blacklist kmem", True),
        ("blacklist\tkmem # the CXL memory is for guests", True),
        ("blacklist nouveau kmem", False),  # libkmod looks at one name
        ("blacklist", False),
        ("\t blacklist \t kmem", True),
        ("install kmem /bin/false", True),
        ("install kmem /usr/bin/true", True),
        ("install kmem :", True),
        ("install kmem exit 0", True),
        ("install km* /bin/false", True),
        ("install nouveau /bin/false", False),
        ("alias dax:t0* off", True),
        ("alias dax:t* nothing", True),
        ("alias dax:t0* kmem", False),
        ("alias pci:v* off", False),
        ("options kmem x=1", False),
    ],
)
def test_a_line_of_modprobe_d_keeps_it_out(text: str, kept_out: bool) -> None:  # noqa: FBT001  # a row of a table
    assert fate(KMEM, DEBIAN, lines(text)) == Fate(f"`{text}` in {FILE}" if kept_out else None)


@pytest.mark.parametrize(
    "text",
    [
        "install kmem /usr/local/sbin/cxl-setup",
        "install kmem /sbin/modprobe --ignore-install kmem $CMDLINE_OPTS",
        "install kmem /bin/true; /sbin/modprobe -i kmem",
        "install kmem /bin/false || insmod /root/kmem.ko",
        "install kmem `which false`",
    ],
)
def test_what_a_command_does_cannot_be_told(text: str) -> None:
    assert fate(KMEM, DEBIAN, lines(text)) == Fate(None, f"`{text}` in {FILE} runs a command")


def test_a_blacklist_is_asked_before_a_command() -> None:
    found = fate(KMEM, DEBIAN, lines("install kmem /usr/local/sbin/x", "blacklist kmem"))
    assert found == Fate(f"`blacklist kmem` in {FILE}")


def test_the_first_command_counts() -> None:
    assert fate(KMEM, "", lines("install kmem /sbin/x", "install kmem /bin/false")).kept_out_by is None


@pytest.mark.parametrize("text", ["softdep device_dax post: kmem", "softdep dax_hmem pre: a kmem post: b"])
def test_what_another_module_asks_for_is_loaded_in_spite_of_a_blacklist(text: str) -> None:
    doubt = Fate(None, f"`{text}` in {FILE} loads it along", pulled=True)
    assert fate(KMEM, DEBIAN, lines("blacklist kmem", text)) == doubt
    assert fate(KMEM, f"{DEBIAN} modprobe.blacklist=kmem", lines(text)) == doubt
    assert fate(KMEM, DEBIAN, lines("install kmem /bin/false", text)).kept_out_by
    assert fate(KMEM, f"{DEBIAN} module_blacklist=kmem", lines(text)).kept_out_by


def test_a_module_that_is_not_there_is_not_loaded() -> None:
    assert fate(KMEM, DEBIAN, (), missing=True) == Fate("there is no such module for the running kernel")


def test_no_list_keeps_out_what_is_built_in() -> None:
    listed = lines("blacklist kmem", "install kmem /bin/false")
    assert fate(KMEM, f"{DEBIAN} modprobe.blacklist=kmem", listed, built_in=True) == Fate(built_in=True)
    by = "initcall_blacklist=dax_kmem_init"
    assert fate(KMEM, f"{DEBIAN} {by}", (), built_in=True) == Fate(by, built_in=True)


@pytest.mark.parametrize(("name", "listed"), [("dax-pmem", "dax_pmem"), ("dax_pmem", "dax-pmem")])
def test_modprobe_d_does_not_tell_a_dash_from_an_underscore(name: str, listed: str) -> None:
    assert fate(name, "", lines(f"blacklist {listed}")).kept_out_by


def configured(files: dict[str, str], masks: dict[str, str] | None = None) -> tuple[Line, ...]:
    def among(said: dict[str, str], pattern: str) -> Answer:
        folder = pattern.rpartition("/")[0]
        here = {path: text for path, text in said.items() if path.rpartition("/")[0] == folder}
        return Answer(0, files={path: Answer(0, text.encode()) for path, text in here.items()})

    answers = {read: among(files, read.pattern) for read in FILES}
    links = {read: among(masks or {}, read.pattern) for read in MASKS}
    return modprobe.configuration(Answers({**answers, **links}))


def test_a_file_takes_the_place_of_its_namesakes_in_later_folders() -> None:
    folders = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
    files = {f"{folder}/modprobe.d/a.conf": f"blacklist m{at}" for at, folder in enumerate(folders)}
    while files:
        first = next(iter(files))
        assert [line.path for line in configured(files)] == [first]
        del files[first]


def test_files_are_read_by_name_whatever_their_folder() -> None:
    files = {"/etc/modprobe.d/z.conf": "blacklist z", "/lib/modprobe.d/a.conf": "blacklist a"}
    assert [line.text for line in configured(files)] == ["blacklist a", "blacklist z"]


@pytest.mark.parametrize("target", ["/dev/null", "../../dev/null"])
def test_a_link_to_nothing_masks_a_file(target: str) -> None:
    files = {"/usr/lib/modprobe.d/a.conf": "blacklist kmem"}
    assert configured(files, {"/etc/modprobe.d/a.conf": target}) == ()
    assert configured(files, {"/etc/modprobe.d/b.conf": target})
    assert configured(files, {"/etc/modprobe.d/a.conf": "/srv/a.conf"})


def test_comments_blank_lines_and_lines_that_go_on() -> None:
    text = "# blacklist kmem\n\n  ; odd\ninstall kmem \\\n /bin/false\nblacklist \\\nkmem"
    assert [line.words for line in configured({FILE: text})] == [
        (";", "odd"),
        ("install", "kmem", "/bin/false"),
        ("blacklist", "kmem"),
    ]


@given(st.text(), st.text())
def test_whatever_is_written_there_gives_an_answer(command_line: str, text: str) -> None:
    found = fate(KMEM, command_line, configured({FILE: text}))
    assert not (found.kept_out_by and found.doubt)


@pytest.mark.parametrize(
    ("said", "missing", "built_in"),
    [
        (
            Answer(0, b"filename:       /lib/modules/6.12/kernel/kmem.ko.xz\nname: kmem\n"),
            False,
            False,
        ),
        (Answer(0, b"name:           kmem\nfilename:       (builtin)\nlicense:        GPL\n"), False, True),
        (Answer(0, b"name:           dax\nfilename:       (builtin)\n"), False, False),
        (Answer(1, b"", "modinfo: ERROR: Module kmem not found."), True, False),
        (Answer(1, b"", "modinfo: ERROR: Module kmemx not found."), False, False),
        (Answer(127, b"", "sh: modinfo: not found"), False, False),
    ],
)
def test_what_kmod_says_of_a_module(said: Answer, missing: bool, built_in: bool) -> None:  # noqa: FBT001  # a row
    assert modprobe.is_missing(KMEM, said) == missing
    assert modprobe.is_built_in(KMEM, said) == built_in


@pytest.mark.parametrize(
    ("text", "kept_out"),
    [
        ("blacklist nouveau\nblacklist kmem\n", True),
        ("\t blacklist \t kmem", True),
        ("blacklist \\\nkmem\n", True),
        ("blacklist kmem\r\n", False),  # with DOS line ends a module of another name; tried with kmod 30
        ("blacklist kmem\v\n", False),
        ("blacklist nouveau\fblacklist kmem\n", False),
        ("install kmem /bin/false\r\n", False),
    ],
)
def test_words_end_at_blanks_and_lines_at_line_feeds_alone(text: str, *, kept_out: bool) -> None:
    found = configured({"/etc/modprobe.d/a.conf": text}, {})
    assert bool(fate(KMEM, DEBIAN, found).kept_out_by) == kept_out


def test_a_softdep_with_dos_line_ends_counts() -> None:
    found = configured({"/etc/modprobe.d/a.conf": "blacklist kmem\nsoftdep dax_hmem pre: kmem\r\n"}, {})
    assert fate(KMEM, DEBIAN, found).pulled
