"""Facts of packages: dpkg's database and what apt does to it."""

from __future__ import annotations

import pytest

FORMAT = r"--showformat=${db:Status-Abbrev}|${Package}|${Architecture}|${Version}|${Provides}\n"
APT = ("apt-get", "--yes", "--option=APT::Cmd::Pattern-Only=true")
DEMO = "cxlstate-demo"


def records(machine):
    lines = machine.ask("dpkg-query", "--show", FORMAT).text.splitlines()
    return {line.split("|")[1]: line for line in lines}


def install(machine, *words):
    return machine.run(*APT, "install", *words)


@pytest.fixture(autouse=True)
def _clean(machine):
    yield
    machine.run("apt-mark", "unhold", DEMO)
    machine.run("dpkg", "--remove", DEMO, "cxlstate-broken", "cxlstate-provider-a", "cxlstate-provider-b")


def test_the_newest_version_is_installed(machine):
    assert DEMO not in records(machine)
    outcome = install(machine, DEMO)
    assert outcome.status == 0
    assert f"Setting up {DEMO} (2.0) ...\n" in outcome.output
    assert records(machine)[DEMO] == f"ii |{DEMO}|all|2.0|"
    assert f"{DEMO} is already the newest version (2.0).\n" in install(machine, DEMO).output


@pytest.mark.long
def test_a_version_can_be_asked_for_and_going_back_needs_a_word(machine):
    install(machine, DEMO)
    outcome = install(machine, f"{DEMO}=1.0")
    assert outcome.status == 100
    assert outcome.output.endswith(
        "E: Packages were downgraded and -y was used without --allow-downgrades.\n"
    )
    assert install(machine, "--allow-downgrades", f"{DEMO}=1.0").status == 0
    assert records(machine)[DEMO] == f"ii |{DEMO}|all|1.0|"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("conformance-absent", "E: Unable to locate package conformance-absent\n"),
        (f"{DEMO}=99", f"E: Version '99' for '{DEMO}' was not found\n"),
        ("cxlstate-virtual", "E: Package 'cxlstate-virtual' has no installation candidate\n"),
        ("--nonsense", "E: Command line option --nonsense is not understood"),
    ],
)
@pytest.mark.long
def test_what_cannot_be_installed_is_told(machine, name, said):
    outcome = install(machine, name)
    assert outcome.status == 100
    assert said in outcome.output


@pytest.mark.long
def test_a_held_package_stays_as_it_is(machine):
    install(machine, f"{DEMO}=1.0")
    assert machine.run("apt-mark", "hold", DEMO).output == f"{DEMO} set on hold.\n"
    assert machine.ask("apt-mark", "showhold").text == f"{DEMO}\n"
    assert records(machine)[DEMO].startswith("hi |")
    for outcome in (install(machine, DEMO), machine.run(*APT, "remove", DEMO)):
        assert outcome.status == 100
        assert outcome.output.endswith(
            "E: Held packages were changed and -y was used without --allow-change-held-packages.\n"
        )
    assert records(machine)[DEMO] == f"hi |{DEMO}|all|1.0|"


def test_a_package_whose_script_fails_is_left_half_configured(machine):
    outcome = install(machine, "cxlstate-broken")
    assert outcome.status == 100
    assert "dpkg: error processing package cxlstate-broken (--configure):\n" in outcome.output
    assert outcome.output.endswith("E: Sub-process /usr/bin/dpkg returned an error code (1)\n")
    assert records(machine)["cxlstate-broken"].startswith("iF |")
    assert machine.run("dpkg", "--configure", "-a").status == 1
    assert install(machine, DEMO).status == 100, "apt tries the broken one again"
    assert records(machine)[DEMO].startswith("ii |")
    assert machine.run("dpkg", "--remove", "cxlstate-broken").status == 0
    assert "cxlstate-broken" not in records(machine)


@pytest.mark.long
def test_two_that_conflict_take_each_others_place(machine):
    assert install(machine, "cxlstate-provider-a").status == 0
    assert records(machine)["cxlstate-provider-a"].endswith("|cxlstate-virtual")
    outcome = install(machine, "--no-remove", "cxlstate-provider-b")
    assert outcome.status == 100
    assert outcome.output.endswith("E: Packages need to be removed but remove is disabled.\n")
    assert install(machine, "cxlstate-provider-b").status == 0
    assert "cxlstate-provider-a" not in records(machine)


def test_nothing_is_done_while_dpkg_was_interrupted(machine):
    machine.interrupt_dpkg()
    outcome = install(machine, DEMO)
    assert outcome.status == 100
    assert outcome.output == (
        "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem. \n"
    )
    assert machine.run("dpkg", "--configure", "-a").status == 0
    assert install(machine, DEMO).status == 0


@pytest.mark.long
def test_without_its_archive_nothing_is_fetched(machine):
    machine.offline(away=True)
    try:
        outcome = install(machine, DEMO)
        assert outcome.status == 100
        assert outcome.output.endswith(
            "E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?\n"
        )
        strict = machine.run("apt-get", "--option=APT::Update::Error-Mode=any", "update")
        assert strict.status == 100
    finally:
        machine.offline(away=False)
    assert machine.run("apt-get", "--option=APT::Update::Error-Mode=any", "update").status == 0


def test_removing_is_told_once_and_then_ignored(machine):
    install(machine, DEMO)
    outcome = machine.run("dpkg", "--remove", DEMO, "conformance-absent")
    assert outcome.status == 0
    assert f"Removing {DEMO} (2.0) ...\n" in outcome.output
    absent = "dpkg: warning: ignoring request to remove conformance-absent which isn't installed\n"
    assert absent in outcome.output
    assert DEMO not in records(machine)
    assert f"Package '{DEMO}' is not installed, so not removed\n" in machine.run(*APT, "remove", DEMO).output


def test_asking_for_names_tells_of_those_that_are_not_there(machine):
    answer = machine.ask("dpkg-query", "--show", FORMAT, operands=("bash", "conformance-absent"))
    assert answer.status == 1
    assert answer.text.startswith("ii |bash|amd64|")
    assert answer.stderr == "dpkg-query: no packages found matching conformance-absent"


def test_the_index_is_asked_for_names_and_left_as_it_is(machine):
    """Real packages, whatever is installed: no name of which others only speak."""

    def named(prefix):
        return machine.ask("apt-cache", "--no-generate", "pkgnames", prefix).text.split()

    assert sorted(named("cxlstate-provider-")) == ["cxlstate-provider-a", "cxlstate-provider-b"]
    assert named("cxlstate-virt") == []
    assert named("conformance-absent") == []


@pytest.mark.long
def test_what_depends_on_a_package_keeps_it(machine):
    install(machine, "cxlstate-provider-a")
    outcome = install(machine, "cxlstate-virtual")
    assert outcome.status == 100, "apt does not take an installed provider for the thing itself"
