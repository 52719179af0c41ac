"""A kind of which a reboot forgets something touches its own folder only, and the simulator runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DECLARED = '''\
"""Notes in /run."""

from cxlstate.core.machine import HOST_ONLY
from cxlstate.core.reconciler import Kind, Place, Shape


class NoteKind(Kind):
    """What is known of it where no spec names it."""

    kind = "note"
    place = Place("notes", Shape.MAP, HOST_ONLY)


kind = NoteKind()
'''
KIND = '''\
"""Notes in /run."""

from __future__ import annotations

from cxlstate.core.action import Action, Step
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.exports import RestoreStep
from cxlstate.core.observation import Present
from cxlstate.core.read import File
from cxlstate.core.reconciler import Reconciler
from cxlstate.formats import restore
from cxlstate.resources.note import NoteKind

FRAGMENT = restore.fragment("note", rank=3)


class NoteReconciler(NoteKind, Reconciler[str, str]):
    """A word a note."""

    model = str

    def reads(self, me):
        return (File(f"/run/notes/{me.name}"),)

    def observe(self, me, answers):
        return Present((answers.text_or_none(self.reads(me)[0]) or "").strip())

    def assess(self, resource, seen, inputs):
        name, text = resource.name, resource.spec
        exports = (RestoreStep(FRAGMENT, ("note", name, text)),)
        if not isinstance(seen, Present) or seen.live == text:
            return Assessment(exports)
        write = Action(f"write {name}", Step(FRAGMENT, ("note_write", name, text), "write"))
        return Assessment(exports, changes=(Change((), seen.live, text),), actions=(write,))


reconciler = NoteReconciler()
'''
FRAGMENT = """\
verbs="$verbs note_write"
note_write() { mkdir -p "$root/run/notes" && printf '%s\\n' "$2" >"$root/run/notes/$1"; }
note_restore() {
    while read -r name text <&3; do
        [ -z "$name" ] || note_write "$name" "$text" || return 1
    done 3<<END
$(rows note)
END
}
"""
SPEC = """\
apiVersion: cxlstate/v1
host:
  name: noted
  connect: sim:host
  notes: {greeting: hello}
"""
POWER_CUT = """\
from pathlib import Path
from cxlstate.simulator.writer import power_cut
power_cut(Path("host"))
"""


@pytest.mark.slow
def test_it_is_applied_written_down_for_the_boot_and_there_after_it(tmp_path):
    shutil.copytree(ROOT / "cxlstate", tmp_path / "cxlstate", ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path / "cxlstate/resources/note"
    folder.mkdir()
    (folder / "__init__.py").write_text(DECLARED)
    (folder / "reconcile.py").write_text(KIND)
    (folder / "restore.sh").write_text(FRAGMENT)
    (tmp_path / "spec.yaml").write_text(SPEC)

    def run(*argv):
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, *argv],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    apply = run("-m", "cxlstate", "apply", "--yes", "spec.yaml")
    assert apply[0] == 0, apply
    assert "note greeting hello" in (tmp_path / "host/root/etc/cxlstate/restore").read_text()
    assert run("-c", POWER_CUT)[0] == 0
    assert run("-m", "cxlstate", "plan", "spec.yaml")[0] == 0, "the boot has made it again"
    assert "/run/notes/greeting" in (tmp_path / "host/machine.json").read_text()
    assert not (tmp_path / "host/.kernel").exists()
