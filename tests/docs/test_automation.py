"""The examples for cron, timers, git and CI, run on a simulated host."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.docs.story import ROOT, Scratch, blocks

TEXT = (ROOT / "docs/automation.md").read_text(encoding="utf-8")
INSTALLED = "/opt/cxlstate/bin"
SPECS = "/etc/cxlstate/specs"
BIN = Path(sys.executable).parent

SPEC = """\
apiVersion: cxlstate/v1
host:
  name: automation
  connect: sim:../host
  users:
    admin: {groups: [kvm]}
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def scratch(tmp_path):
    """A project whose one spec is in sync with its simulated host."""
    scratch = Scratch(tmp_path)
    shutil.rmtree(scratch.folder / "specs")
    (scratch.folder / "specs").mkdir()
    (scratch.folder / "specs/automation.yaml").write_text(SPEC)
    done = scratch.run("cxlstate apply --yes specs/")
    assert done.returncode == 0, done.stdout
    return scratch


def block(name):
    """The one with this file name, or of this language."""
    return next(block for block in blocks(TEXT) if name in (block.file, block.language))


def here(scratch, text):
    """The example with the paths of this test in place of its own."""
    return text.replace(INSTALLED, str(BIN)).replace(SPECS, str(scratch.folder / "specs"))


def take_admin_out_of_kvm(scratch):
    group = scratch.folder / "host/root/etc/group"
    group.write_text(re.sub(r"^(kvm:.*:)admin$", r"\1", group.read_text(), flags=re.MULTILINE))


def says_nothing_and_then_the_drift(scratch, command, environment):
    """Run a command of cron or systemd as they do: no shell variables of ours, no terminal."""
    run = partial(
        subprocess.run,
        ["/bin/sh", "-c", here(scratch, command)],
        cwd=scratch.home,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    calm = run()
    assert (calm.returncode, calm.stdout, calm.stderr) == (0, "", "")
    take_admin_out_of_kvm(scratch)
    drift = run()
    assert drift.returncode == 2, drift.stderr
    assert drift.stdout.startswith("automation  user.admin  drifted")
    assert drift.stderr == ""


def test_cron_mails_only_what_differs(scratch):
    *settings, line = block("crontab").text.splitlines()
    assert all(re.fullmatch(r"[A-Z]+=\S+", setting) for setting in settings)
    times, command = re.fullmatch(r"((?:\S+\s+){5})(.*)", line).groups()
    assert all(re.fullmatch(r"[\d*,/-]+", field) for field in times.split())
    assert "%" not in command  # cron would end the line there
    environment = {"HOME": str(scratch.home), "LOGNAME": "x", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    says_nothing_and_then_the_drift(scratch, command, environment)


def unit(kind):
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(block(f"etc/systemd/system/cxlstate-drift.{kind}").text)
    return parser


def test_the_service_says_nothing_and_then_the_drift(scratch):
    service = unit("service")["Service"]
    assert service["Type"] == "oneshot"
    says_nothing_and_then_the_drift(scratch, service["ExecStart"], {"PATH": "/usr/bin:/bin"})


def test_the_timer_is_for_the_service_and_comes_back_after_a_boot():
    timer = unit("timer")
    assert timer["Timer"]["OnCalendar"]
    assert timer["Install"]["WantedBy"] == "timers.target"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_systemd_understands_the_units(scratch, tmp_path):
    files = []
    for kind in ("service", "timer"):
        name = f"cxlstate-drift.{kind}"
        files.append(tmp_path / name)
        files[-1].write_text(here(scratch, block(f"etc/systemd/system/{name}").text))
    done = subprocess.run(
        ["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False, timeout=60
    )
    ours = [line for line in done.stderr.splitlines() if "cxlstate-drift" in line]
    assert not ours


@pytest.fixture
def repository(scratch):
    """The same as a git repository, with the hooks of the document."""
    (scratch.folder / ".gitignore").write_text("host\n")
    done = scratch.run("git init -q && git config user.name A && git config user.email a@example.org")
    assert done.returncode == 0, done.stdout
    for name in ("pre-commit", "pre-push"):
        scratch.write(block(f".git/hooks/{name}")).chmod(0o755)
    return scratch


def test_a_commit_of_a_bad_spec_is_blocked_and_a_good_one_is_not(repository):
    spec = repository.folder / "specs/automation.yaml"
    good = repository.run("git add specs && git commit -q -m good")
    assert good.returncode == 0, good.stdout
    spec.write_text(SPEC.replace("groups", "gruops"))
    bad = repository.run("git commit -q -a -m bad")
    assert bad.returncode == 1
    assert "specs/automation.yaml:6:13" in bad.stdout
    assert repository.run("git log --format=%s").stdout == "good\n"


def test_what_is_staged_counts_and_not_what_lies_in_the_folder(repository):
    spec = repository.folder / "specs/automation.yaml"
    spec.write_text(SPEC.replace("groups", "gruops"))
    repository.run("git add specs")
    spec.write_text(SPEC)
    assert repository.run("git commit -q -m mended-but-not-staged").returncode == 1
    repository.run("git add specs")
    spec.write_text("broken: [")
    assert repository.run("git commit -q -m broken-but-not-staged").returncode == 0


def test_a_push_shows_the_plan_and_is_blocked_where_none_can_be_made(repository):
    repository.run("git init -q --bare ../remote && git remote add origin ../remote")
    repository.run("git add specs && git commit -q -m first")
    take_admin_out_of_kvm(repository)
    pushed = repository.run("git push -q origin HEAD:main")
    assert pushed.returncode == 0, pushed.stdout
    assert "groups  + kvm" in pushed.stdout
    (repository.folder / "host/machine.json").write_text("not JSON")
    repository.run("git commit -q --allow-empty -m second")
    assert repository.run("git push -q origin HEAD:main").returncode == 1


def test_the_job_keeps_the_plan_and_fails_only_where_none_can_be_made(scratch):
    scratch.write(block("ci/check-specs"))
    take_admin_out_of_kvm(scratch)
    differs = scratch.run("sh ci/check-specs")
    assert differs.returncode == 0, differs.stdout
    assert "groups  + kvm" in differs.stdout
    assert scratch.run("cxlstate apply --yes plan.json").returncode == 0
    assert scratch.run("cxlstate plan specs/").returncode == 0
    (scratch.folder / "specs/automation.yaml").write_text(SPEC.replace("groups", "gruops"))
    assert scratch.run("sh ci/check-specs").returncode == 1
    (scratch.folder / "specs/automation.yaml").write_text(SPEC)
    (scratch.folder / "host/machine.json").write_text("not JSON")
    assert scratch.run("sh ci/check-specs").returncode == 1


def test_the_workflow_runs_the_job(scratch):
    scratch.write(block("ci/check-specs"))
    workflow = yaml.safe_load(block(".github/workflows/specs.yaml").text)
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert steps
    for step in steps:
        done = scratch.run(f"set -e\n{step}")
        assert done.returncode == 0, done.stdout
        assert "1 in sync" in done.stdout
    assert (scratch.folder / "plan.json").exists()
