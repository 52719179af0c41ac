"""Whole runs on a simulated host whose source tree is Debian's own: what is planned, done, and taken back."""

import pytest

from cxlstate.cli.main import _run
from tests.corpus import kernel
from tests.corpus.apt import NoCorpusError

pytestmark = pytest.mark.slow

SOURCE = "/usr/src/linux"
HMEM_C = f"{SOURCE}/drivers/dax/hmem/hmem.c"
NOTE = f"{SOURCE}/.cxlstate-dax-hmem-align-4k.patch"
PATCHES = "patches: [dax-hmem-align-4k]"


class Machine:
    """A simulated host with a tree in it, its spec, and the command line."""

    def __init__(self, folder, capsys, tree):
        self.folder, self.capsys = folder, capsys
        self.root = folder / "host/root"
        self.spec("")
        self.run("plan")
        for path, text in {"Makefile": "VERSION = 6\n", **tree}.items():
            if text is not None:
                self.path(f"{SOURCE}/{path}").parent.mkdir(parents=True, exist_ok=True)
                self.path(f"{SOURCE}/{path}").write_bytes(text.encode())

    def path(self, path):
        return self.root / path.lstrip("/")

    def spec(self, said, *more):
        text = "apiVersion: cxlstate/v1\nhost:\n  name: h\n  connect: sim:host\n"
        text += "".join(f"  {line}\n" for line in more)
        (self.folder / "spec.yaml").write_text(f"{text}  kernel: {{source: {SOURCE}, {said}}}\n")

    def run(self, verb, *more):
        status = _run([verb, *more, str(self.folder / "spec.yaml")])
        said = self.capsys.readouterr()
        return status, said.out + said.err

    def tree(self):
        folder = self.path(SOURCE)
        return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


@pytest.fixture(params=kernel.PACKAGES)
def machine(request, tmp_path, capsys):
    try:
        return Machine(tmp_path, capsys, kernel.tree(kernel.PACKAGES[request.param]))
    except NoCorpusError as error:
        pytest.skip(f"no kernel sources of {request.param}: {str(error).splitlines()[-1]}")


def test_applied_again_and_taken_back(machine):
    before = machine.tree()
    machine.spec(PATCHES)
    status, said = machine.run("plan")
    assert (status, "dax-hmem-align-4k at drivers/dax/hmem/hmem.c" in said) == (2, True), said
    assert machine.tree() == before
    status, said = machine.run("apply", "--yes")
    assert (status, b"PMD_SIZE" in machine.path(HMEM_C).read_bytes()) == (0, False), said
    after = machine.tree()
    assert after.keys() - before.keys() == {NOTE.removeprefix(f"{SOURCE}/")}
    assert machine.run("apply", "--yes")[0] == 0
    assert machine.tree() == after
    assert machine.run("drift")[0] == 0
    machine.spec("")
    status, said = machine.run("apply", "--yes")
    assert (status, machine.tree()) == (0, before), said


def test_other_edits_stay(machine):
    machine.spec(PATCHES)
    assert machine.run("apply", "--yes")[0] == 0
    path = machine.path(HMEM_C)
    path.write_bytes(b"/* mine */\n" + path.read_bytes())
    assert machine.run("plan")[0] == 0
    machine.spec("absent: [dax-hmem-align-4k]")
    status, said = machine.run("apply", "--yes")
    assert (status, path.read_bytes().startswith(b"/* mine */\n")) == (0, True), said
    assert b"PMD_SIZE" in path.read_bytes()
    assert not machine.path(NOTE).exists()


def test_stopped_between_note_and_file(machine):
    """The next apply goes on; and without the patch in the spec only the note goes."""
    before = machine.tree()
    machine.spec(PATCHES)
    assert machine.run("apply", "--yes")[0] == 0
    machine.path(HMEM_C).write_bytes(before["drivers/dax/hmem/hmem.c"])
    assert machine.run("apply", "--yes")[0] == 0
    assert b"PMD_SIZE" not in machine.path(HMEM_C).read_bytes()
    machine.path(HMEM_C).write_bytes(before["drivers/dax/hmem/hmem.c"])
    machine.spec("")
    status, said = machine.run("apply", "--yes")
    assert (status, machine.tree()) == (0, before), said


def test_where_one_does_not_apply_nothing_is_changed(machine):
    path = machine.path(HMEM_C)
    path.write_bytes(path.read_bytes().replace(b"PMD_SIZE", b"SZ_4K"))
    before = machine.tree()
    machine.spec(PATCHES)
    status, said = machine.run("apply", "--yes")
    assert (status, "CXK412" in said, "SZ_4K" in said, machine.tree()) == (1, True, True, before)


def test_a_link_leads_no_patch_out_of_the_tree(machine, tmp_path):
    dax = machine.path(f"{SOURCE}/drivers/dax/hmem")
    outside = machine.path("/srv/hmem")
    outside.parent.mkdir(parents=True, exist_ok=True)
    dax.rename(outside)
    dax.symlink_to("/srv/hmem")
    before = (outside / "hmem.c").read_bytes()
    machine.spec(PATCHES)
    status, said = machine.run("apply", "--yes")
    assert (status, "CXK411" in said, (outside / "hmem.c").read_bytes()) == (1, True, before), said


BUILD = "build: {commands: [[uname, -r]], install: [[uname, -r]]}"


def test_built_installed_and_booted(machine):
    machine.spec(f"{PATCHES}, {BUILD}")
    status, said = machine.run("apply", "--yes")
    assert (status, "build the kernel: uname -r" in said) == (3, True), said
    assert machine.run("plan")[0] == 3
    assert machine.run("apply", "--yes", "--allow", "reboot-host")[0] == 0
    assert machine.run("plan")[0] == 0
    machine.spec(f"patches: [], {BUILD}")
    status, said = machine.run("plan")
    assert (status, "another source or build" in said) == (2, True), said


def test_a_patch_of_others_that_is_taken_back_is_built_anew(machine):
    machine.spec(PATCHES)
    assert machine.run("apply", "--yes")[0] == 0
    machine.path(NOTE).unlink()
    machine.spec(BUILD)
    assert machine.run("apply", "--yes", "--allow", "reboot-host")[0] == 0
    machine.spec(f"absent: [dax-hmem-align-4k], {BUILD}")
    status, said = machine.run("apply", "--yes", "--allow", "reboot-host")
    assert (status, "another source or build" in said) == (0, True), said
    assert b"PMD_SIZE" in machine.path(HMEM_C).read_bytes()
    assert machine.run("plan")[0] == 0


def test_a_build_that_fails_leaves_the_source_as_it_is_wanted(machine):
    machine.spec(f"{PATCHES}, build: {{commands: [[no-such-program]]}}")
    status, said = machine.run("apply", "--yes")
    assert (status, b"PMD_SIZE" in machine.path(HMEM_C).read_bytes()) == (1, False), said
    assert not machine.path(f"{SOURCE}/.cxlstate-installed").exists()
    log = "/var/lib/cxlstate/logs/kernel.log"
    assert (f"more of it in {log} on h" in said, machine.path(log).exists()) == (True, True), said
    assert "built and installed" in machine.run("plan")[1]


def test_a_reboot_without_the_effect_is_an_error(machine):
    """The simulated kernel is not built of anything: its regions stay aligned on 2 MiB."""
    proof = "proof: {dax.cxl0: {region_align: 4KiB}}"
    dax = ("modules: {kmem: absent}", "dax: {cxl0: {range: {start: 0x5080000000, size: 96GiB}}}")
    machine.spec(f"{PATCHES}, {BUILD}, {proof}", *dax)
    consent = ("--yes", "--allow", "reboot-host")
    status, said = machine.run("apply", *consent)
    assert (status, "CXK421" in said, "2MiB by hmem.0 (patch dax-hmem-align-4k)" in said) == (
        1,
        True,
        True,
    ), said
