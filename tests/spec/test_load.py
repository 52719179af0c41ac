"""Files → resources: what is refused, where, and what is made of the rest."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from cxlstate.core.address import Address
from cxlstate.core.connect import Local, Sim, Ssh, Through
from cxlstate.core.diagnostic import Source
from cxlstate.core.machine import Scope
from cxlstate.resources import kinds
from cxlstate.spec import schema, yaml_text
from cxlstate.spec.connection import format_connect, parse_connect
from cxlstate.spec.document import plain
from cxlstate.spec.envelope import NOT_YET
from cxlstate.spec.load import dump, load

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from fakes import KINDS  # noqa: E402  # tests are no package

BAD = sorted((HERE / "bad").glob("*/*.yaml"))
GOOD = sorted((HERE / "good").rglob("*.yaml"))
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
EXPECTATION = re.compile(r"^# expect: (CX[A-Z]\d{3}) (\d+):(\d+)$", re.MULTILINE)


def kinds_for(file):
    """The folder `kinds` is about what there really is; the others have words of every shape."""
    return kinds() if file.parent.name in ("kinds", "guests") or file in SPECS else KINDS


def write(folder, name, text):
    file = folder / name
    file.write_text(text)
    return file


def tree_of(tmp_path, text, file="spec.yaml"):
    loaded = load([write(tmp_path, file, text)], KINDS)
    assert not loaded.diagnostics
    return loaded.trees[0]


def spec_of(tmp_path, text):
    return tree_of(tmp_path, text).host


VMX = Address("vm", "cxl_vmx")
HEAD = "apiVersion: cxlstate/v1\nhost:\n  name: h\n"


@pytest.mark.parametrize("file", BAD, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_bad_spec_is_refused_with_code_line_and_column(file):
    expected = [
        (code, int(line), int(column))
        for code, line, column in EXPECTATION.findall(file.read_bytes().decode())
    ]
    loaded = load([file], kinds_for(file))
    assert expected
    assert not loaded.trees
    assert [(each.code, each.source.line, each.source.column) for each in loaded.diagnostics] == expected


@pytest.mark.parametrize("file", BAD, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_whatever_is_said_to_a_person_stands_on_one_line(file):
    for problem in load([file], kinds_for(file)).diagnostics:
        for text in (problem.message, problem.found, problem.expected, problem.hint):
            assert text is None or (text.isprintable() and 0 < len(text) < 400)


@pytest.mark.parametrize("file", [*GOOD, *SPECS], ids=lambda file: file.stem)
def test_a_good_spec_loads_fits_the_schema_and_survives_dumping(file, tmp_path):
    using = kinds_for(file)
    loaded = load([file], using)
    assert not loaded.diagnostics
    document, _ = yaml_text.parse(file.read_bytes(), "")
    Draft7Validator(schema.schema(using)).validate(plain(document.root))
    for beside in file.parent.glob("*.pub"):
        shutil.copy(beside, tmp_path)
    copy = write(tmp_path, file.name, dump(loaded.trees[0], using))
    again = load([copy], using).trees[0]
    assert again.machines == loaded.trees[0].machines


def test_the_schema_refuses_most_of_what_is_bad():
    """Names written twice, ranges of CPUs that run backwards and the like are beyond it."""
    validators = {
        name: Draft7Validator(schema.schema(using))
        for name, using in (("entries", KINDS), ("kinds", kinds()))
    }
    judged = []
    for file in BAD:
        document, problems = yaml_text.parse(file.read_bytes(), "")
        if not problems:
            judged.append(
                validators["kinds" if file.parent.name in ("kinds", "guests") else "entries"].is_valid(
                    plain(document.root)
                )
            )
    assert len(judged) > 100
    assert sum(judged) < 0.2 * len(judged)


def test_the_schema_is_a_schema_that_says_what_each_key_is_for():
    made = schema.schema()
    Draft7Validator.check_schema(made)
    mappings = {"": made, "host": made["properties"]["host"], **made["$defs"]}
    keys = {
        f"{name}.{key}": one
        for name, each in mappings.items()
        for key, one in each.get("properties", {}).items()
    }
    assert not [key for key, one in keys.items() if not one.get("description") and "$ref" not in one]


def test_the_schema_in_the_repository_is_up_to_date():
    assert (ROOT / "schemas" / "cxlstate.schema.json").read_text() == schema.text()


def test_resources_are_named_and_found_where_they_were_written(tmp_path):
    tree = tree_of(
        tmp_path,
        HEAD + "  switches: {kmem: absent}\n  words:\n    - a\n  boot:\n    quiet: true\n"
        "volumes:\n  - {target: x, size: 2G}\n",
    )
    file = str(tmp_path / "spec.yaml")
    assert [(resource.address, resource.path) for resource in tree.host.resources] == [
        (Address("switch", "kmem"), ("host", "switches", "kmem")),
        (Address("word", "a"), ("host", "words", 0)),
        (Address("boot"), ("host", "boot")),
        (Address("volume", "x"), ("volumes", 0)),
    ]
    assert [tree.locate(resource.path) for resource in tree.host.resources] == [
        Source(file, 4, 20),
        Source(file, 6, 7),
        Source(file, 7, 3),
        Source(file, 10, 5),
    ]
    assert tree.locate(("volumes", 0, "size", "unit")) == Source(file, 10, 23)


@pytest.mark.parametrize(
    ("line", "connect"),
    [
        ("", Ssh("h")),
        ("  connect: local\n", Local()),
        ("  connect: ssh://cloudcxl2\n", Ssh("cloudcxl2")),
        ("  connect: ssh://admin@cloudcxl2:22\n", Ssh("cloudcxl2", "admin", 22)),
        ("  connect: ssh://my_alias/\n", Ssh("my_alias")),
        ("  connect: ssh://root@192.0.2.1:2222\n", Ssh("192.0.2.1", "root", 2222)),
        ("  connect: ssh://root@[fe80::1%eth0]:22\n", Ssh("fe80::1%eth0", "root", 22)),
    ],
)
def test_how_a_machine_is_reached(tmp_path, line, connect):
    spec = spec_of(tmp_path, HEAD + line)
    assert spec.connect == connect
    assert parse_connect(format_connect(connect, "spec.yaml"), "spec.yaml") == connect


def test_a_simulated_machine_is_looked_for_beside_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs").mkdir()
    write(tmp_path, "specs/a.yaml", HEAD + "  connect: sim:../lab\n")
    tree = load([Path("specs/a.yaml")], KINDS).trees[0]
    assert tree.host.connect == Sim(Path("lab"))
    assert "connect: sim:../lab\n" in dump(tree, KINDS)


def test_a_folder_gives_its_files_in_order_and_nothing_below(tmp_path):
    for name in ("b.yaml", "a.yml", ".hidden.yaml", "notes.txt"):
        write(tmp_path, name, HEAD.replace("h\n", f"{name.strip('.').replace('.', '-')}\n"))
    (tmp_path / "sub.yaml").mkdir()
    loaded = load([tmp_path], KINDS)
    assert [tree.host.id for tree in loaded.trees] == ["a-yml", "b-yaml"]
    assert not loaded.diagnostics


def test_a_file_that_is_named_twice_is_read_once(tmp_path):
    file = write(tmp_path, "a.yaml", HEAD)
    assert len(load([tmp_path, file, file], KINDS).trees) == 1


def test_what_cannot_be_read_is_told_and_the_rest_is_read(tmp_path):
    (tmp_path / "empty").mkdir()
    file = write(tmp_path, "a.yaml", HEAD)
    loaded = load([tmp_path / "none.yaml", tmp_path / "empty", Path("x\0y"), file], KINDS)
    assert [problem.code for problem in loaded.diagnostics] == ["CXS112"] * 3
    assert len(loaded.trees) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_told(tmp_path):
    write(tmp_path, "a.yaml", HEAD).chmod(0)
    assert [problem.code for problem in load([tmp_path], KINDS).diagnostics] == ["CXS112"]


def test_a_key_of_the_top_level_is_said_to_belong_there(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("apiVersion: cxlstate/v1\nhost:\n  name: h\n  connect: local\n  networks: {}\n")
    (problem,) = load([file], kinds()).diagnostics
    assert problem.code == "CXS201"
    assert problem.hint == "write networks at the top level of the file, beside host"


def test_two_files_cannot_be_for_one_host(tmp_path):
    write(tmp_path, "a.yaml", HEAD)
    write(tmp_path, "b.yaml", HEAD.replace("name: h", "name: H"))
    loaded = load([tmp_path], KINDS)
    (problem,) = loaded.diagnostics
    assert (problem.code, problem.source) == ("CXS209", Source(str(tmp_path / "b.yaml"), 3, 9))
    assert str(tmp_path / "a.yaml") + ":3:9" in problem.hint


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sim:box", "sim:./box", True),
        ("ssh://a@box", "ssh://b@BOX", True),
        ("ssh://box:2201", "ssh://box:2202", False),
        ("ssh://box", "ssh://other", False),
        ("local", "local", False),
    ],
)
def test_two_files_cannot_be_for_one_machine(tmp_path, one, other, same):
    """Each would take away what the other has put there: a copy in which only the name was changed."""
    for name, connect in (("a", one), ("b", other)):
        text = f"apiVersion: cxlstate/v1\nhost:\n  name: {name}\n  connect: {connect}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    loaded = load([tmp_path], KINDS)
    assert [problem.code for problem in loaded.diagnostics] == ["CXS209"] * same
    if same:
        assert loaded.diagnostics[0].source == Source(str(tmp_path / "b.yaml"), 4, 12)
        assert str(tmp_path / "a.yaml") + ":4:12" in loaded.diagnostics[0].hint


def test_problems_of_all_files_come_in_one_run_by_file_line_and_column(tmp_path):
    bad = HEAD + "  wrods: []\n  boot: {timeout: 99, quiet: on}\n"
    write(tmp_path, "b.yaml", bad)
    write(tmp_path, "a.yaml", bad.replace("name: h", "name: i"))
    sources = [problem.source for problem in load([tmp_path / "b.yaml", tmp_path], KINDS).diagnostics]
    assert len(sources) == 6
    assert sources == sorted(sources, key=lambda source: (source.file, source.line, source.column))


def test_a_word_is_refused_as_not_yet_only_until_a_kind_serves_it(tmp_path):
    file = write(tmp_path, "a.yaml", HEAD + "  cxl: {}\n")
    assert [problem.code for problem in load([file], KINDS).diagnostics] == ["CXS207"]
    served = type(KINDS["switch"])
    place = served.place
    try:
        served.place = type(place)("cxl", place.shape, place.scopes)
        assert not load([file], KINDS).diagnostics
    finally:
        served.place = place


def test_no_kind_serves_a_word_that_is_still_listed_as_not_yet():
    served = {(scope, kind.place.key) for kind in kinds().values() for scope in kind.place.scopes}
    assert not [key for section, words in NOT_YET.items() for key in words if (section, key) in served]


def test_a_password_in_connect_is_not_repeated(tmp_path):
    for connect in ("ssh://root:hunter2@h", "root:hunter2@h", "ssh://:hunter2@h", "ssh://root:hunter2@x@h"):
        file = write(tmp_path, "a.yaml", HEAD + f"  connect: {connect}\n")
        (problem,) = load([file], KINDS).diagnostics
        assert "hunter2" not in str(problem.as_json())


def test_every_code_has_a_page():
    pages = {page.stem for page in (ROOT / "cxlstate" / "pages").glob("CXS*.md")}
    sources = [*(ROOT / "cxlstate" / "spec").glob("*.py"), *(ROOT / "cxlstate" / "core").glob("*.py")]
    codes = {code for source in sources for code in re.findall(r'"(CXS\d{3})"', source.read_text())}
    assert pages == codes
    for page in (ROOT / "cxlstate" / "pages").glob("CXS*.md"):
        text = page.read_text()
        assert text.startswith(f"# {page.stem}: ")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Why", "Example", "What to do"]


NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
SIZES = st.integers(1, (1 << 64) - 1)
CPUS = st.frozensets(st.integers(0, 200), min_size=1).map(lambda cpus: ",".join(map(str, cpus)))
SOME = st.fixed_dictionaries
DOCUMENTS = st.builds(
    lambda host, root: {"apiVersion": "cxlstate/v1", "host": {"name": "h", **host}, **root},
    SOME(
        {},
        optional={
            "connect": st.sampled_from(["local", "sim:x", "sim:/x/y", "ssh://u@h:1", "ssh://[::1]"]),
            "boot": SOME(
                {}, optional={"args": st.lists(NAMES), "timeout": st.integers(0, 60), "quiet": st.booleans()}
            ),
            "devices": st.dictionaries(
                NAMES,
                SOME(
                    {"range": SOME({"start": st.integers(0, (1 << 64) - 1).map(hex), "size": SIZES})},
                    optional={
                        "mode": st.sampled_from(["devdax", "system-ram"]),
                        "cpus": CPUS,
                        "pins": st.lists(CPUS),
                    },
                ),
                max_size=3,
            ),
            "switches": st.dictionaries(
                NAMES, st.sampled_from(["present", "absent"]) | SOME({"at_boot": st.booleans()}), max_size=3
            ),
            "words": st.lists(NAMES, unique=True),
        },
    ),
    SOME(
        {},
        optional={
            "volumes": st.lists(
                SOME({"target": st.from_regex("[a-z]+", fullmatch=True), "size": SIZES}),
                unique_by=lambda one: one["target"],
                max_size=3,
            )
        },
    ),
)


@given(DOCUMENTS)
def test_a_spec_that_was_dumped_loads_as_the_same_spec(tmp_path_factory, document):
    folder = tmp_path_factory.getbasetemp() / "dumped"
    folder.mkdir(exist_ok=True)
    tree = tree_of(folder, yaml_text.dump(document))
    assert tree_of(folder, dump(tree, KINDS)) == tree
    Draft7Validator(schema.schema(KINDS)).validate(document)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | NAMES,
        lambda below: (
            st.lists(below, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        *KINDS,
                        "name",
                        "connect",
                        "boot",
                        "devices",
                        "switches",
                        "words",
                        "args",
                        "range",
                        "start",
                        "x",
                    ]
                )
                | NAMES,
                below,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_no_data_breaks_the_loader(tmp_path_factory, data):
    text = yaml_text.dump({"apiVersion": "cxlstate/v1", "host": data, "volumes": data})
    loaded = load([write(tmp_path_factory.getbasetemp(), "any.yaml", text)], KINDS)
    assert loaded.trees or loaded.diagnostics
    assert all(problem.source.line <= text.count("\n") + 1 for problem in loaded.diagnostics)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  memmap:\n    - {size: 2GiB, start: 320GiB}\n", "type: reserved, acpi or pmem"),
        ("  memmap:\n    - {size: 2GiB, type: acpi}\n", "the key start"),
    ],
)
def test_of_a_missing_key_the_words_that_it_may_have_are_told(tmp_path, text, expected):
    loaded = load([write(tmp_path, "spec.yaml", f"{HEAD}{text}")], kinds())
    assert [one.expected for one in loaded.diagnostics if one.code == "CXS202"] == [expected]


def test_a_file_is_a_tree_of_machines_and_the_host_stands_first():
    file = HERE / "good/kinds/guests.yaml"
    tree = load([file]).trees[0]
    assert [(one.id, one.parent, one.scope, one.connect) for one in tree.machines] == [
        ("cloudcxl2", None, Scope.HOST, Ssh("cloudcxl2", "admin")),
        ("cloudcxl2/cxl_vmx", "cloudcxl2", Scope.GUEST, Through(VMX, "comsys", "ssh", 2222)),
        ("cloudcxl2/a.b:c", "cloudcxl2", Scope.GUEST, Through(Address("vm", "a.b:c"), via="agent")),
        ("cloudcxl2/bare", "cloudcxl2", Scope.GUEST, Through(Address("vm", "bare"))),
    ]
    assert [str(me.address) for me in tree.guests[0].resources] == [
        "package.ndctl", "package.daxctl", "module.nd_pmem", "module.kmem", "service.cron", "user.comsys",
        "grub",
    ]  # fmt: skip
    assert tree.locate(tree.guests[0].resources[1].path) == Source(str(file), 13, 25)
    assert not tree.guests[2].resources
    assert [str(me.address) for me in tree.host.resources] == [
        "package.ndctl", "module.kmem", "vm.cxl_vmx", "vm.a.b:c", "vm.bare", "vm.no-guest"
    ]  # fmt: skip


def test_what_is_said_of_a_first_boot_is_of_the_guest_and_of_its_host():
    tree = load([HERE / "good/kinds/provision.yaml"]).trees[0]
    of_host = {str(me.address): me for me in tree.host.resources}
    of_guest = {str(me.address): me for me in tree.guests[0].resources}
    assert list(of_host) == ["vm.cxl_vmx", "vm.bare", "provision.cxl_vmx", "provision.bare"]
    assert list(of_guest) == ["provision", "package.ndctl"]
    assert (of_host["vm.cxl_vmx"].guest or {}).keys() == {"provision", "package"}
    assert of_host["provision.cxl_vmx"].vm == of_guest["provision"].vm == "cxl_vmx"
    assert of_host["provision.cxl_vmx"].path == of_guest["provision"].path
    assert of_host["provision.cxl_vmx"].spec == of_guest["provision"].spec
