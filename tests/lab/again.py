"""A pytest plugin: a test on the emulated host that fails is run once more, from a fresh start.

It holds for tests with the marker `lab`. All fixtures that stand are torn down before the second run, those
of modules and of the session too, so that it begins on a new host. What passes then is *flaky*: it is listed
at the end with its first failure, and `FLAKY` of them in one run fail it. Where the emulator itself ended,
the test is run again as well, and listed apart: that is nobody's fault here (see `host.py`).

A test that takes too long fails by pytest-timeout's signal. Where no signal is heard, as in a C library, its
process is ended a little later; in a worker of pytest-xdist that is one failure more, and a new worker runs
the test once again. So the emulated host's tests run as `-n 1`.

The last table says what each file took.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections import Counter

import pytest
from _pytest.runner import call_and_report

from tests.lab.host import FAULTS, aborted, counts

FLAKY = 3
"""So many flaky tests in one run fail it."""
DEAF_SECONDS = 60.0
"""After its timeout a test has this time to hear of it."""


def pytest_configure(config):
    config.pluginmanager.register(Again(), "lab-again")


class Again:
    """Runs the tests, and tells of them: under pytest-xdist in two processes."""

    def __init__(self):
        self._ended = None  # what became of the emulator, while a test is run
        self._settings = None  # of pytest-timeout, for the test that is run
        self._last_resort = None
        self._flaky = {}  # test → its first failure
        self._faults = []
        self._crashed = set()
        self._took = {}  # file → Counter

    # Where tests are run ----------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item, nextitem):
        if item.get_closest_marker("lab") is None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        begun, counted = time.monotonic(), counts()
        try:
            reports, flaky = self._run_or_again(item, nextitem)
        finally:
            self._disarm(item)
        last = reports[-1]
        last.lab_flaky = flaky
        last.lab_faults = FAULTS.copy()
        last.lab_took = {**(counts() - counted), "tests": 1, "seconds": time.monotonic() - begun}
        FAULTS.clear()
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _run_or_again(self, item, nextitem):
        """The reports of the run that counts; if that was the second and passed, what failed in the first."""
        reports = self._run(item, nextitem)
        failure, flaky = _failure(reports), None
        if failure is not None:
            ended = self._ended
            if ended is not None:
                FAULTS.append(f"{item.nodeid}: {ended}")
            reports = self._run(item, nextitem)
            if _failure(reports) is None and ended is None:
                flaky = failure
        return reports, flaky

    def _run(self, item, nextitem):
        """Set up, call and tear down, without telling the reports yet; each within the test's timeout.

        After a failure everything that stands is torn down: what is next begins on a new host.
        """
        self._ended = None
        if not item._request:
            item._initrequest()  # as pytest's own runtestprotocol does
        try:
            self._arm(item)
            reports = [call_and_report(item, "setup", log=False)]
            if reports[0].passed:
                self._arm(item)
                reports.append(call_and_report(item, "call", log=False))
            self._arm(item)
            kept = None if _failure(reports) else nextitem
            reports.append(call_and_report(item, "teardown", log=False, nextitem=kept))
            if kept is not None and reports[-1].failed:
                self._arm(item)
                call_and_report(item, "teardown", log=False, nextitem=None)
        finally:
            item._request = False
            item.funcargs = None
        return reports

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        """While the machine still is as the failure left it."""
        if call.excinfo is not None and self._ended is None:
            self._ended = aborted()
        return (yield)

    # Time -------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_timeout_set_timer(self, item, settings):
        """Know pytest-timeout's settings, and have what ends a test that hears no signal."""
        self._settings = settings
        if item.get_closest_marker("lab") is not None:
            self._last_resort = threading.Timer(settings.timeout + DEAF_SECONDS, _end_process, (item.nodeid,))
            self._last_resort.daemon = True
            self._last_resort.start()

    def _arm(self, item):
        """Begin the test's time anew: pytest-timeout counts once, and not after a failure."""
        settings = self._settings
        self._disarm(item)
        if settings is not None:
            item.ihook.pytest_timeout_set_timer(item=item, settings=settings)

    def _disarm(self, item):
        if self._last_resort is not None:
            self._last_resort.cancel()
            self._last_resort = None
        if self._settings is not None:
            item.ihook.pytest_timeout_cancel_timer(item=item)

    # Where it is told -------------------------------------------------------------------------------

    def pytest_runtest_logreport(self, report):
        took = getattr(report, "lab_took", None)
        if took is None:
            return
        if report.lab_flaky is not None:
            self._flaky[report.nodeid] = report.lab_flaky
        elif report.nodeid in self._crashed and report.passed:
            self._flaky[report.nodeid] = "its process ended, as after a timeout that it did not hear of"
        self._faults += report.lab_faults
        self._took.setdefault(report.nodeid.partition("::")[0], Counter()).update(took)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem, report, sched):
        """The worker's process ended in a test: once more, in the next worker."""
        if crashitem not in self._crashed:
            self._crashed.add(crashitem)
            sched.mark_test_pending(crashitem)
            report.outcome = "rerun"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        if len(self._flaky) >= FLAKY and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        write = terminalreporter
        if self._flaky:
            write.section("flaky: failed, and passed from a fresh start")
            for test, failure in self._flaky.items():
                write.write_line(f"{test}\n{failure}\n")
            if len(self._flaky) >= FLAKY:
                write.write_line(f"{len(self._flaky)} flaky tests: {FLAKY} or more fail the run")
        if self._faults:
            write.section("the emulator ended, and was started again")
            for fault in self._faults:
                write.write_line(fault)
        if self._took:
            write.section("on the emulated host")
            write.write_line("seconds  tests  boots  resumed")
            rows = [*sorted(self._took.items()), ("in all", sum(self._took.values(), Counter()))]
            for name, took in rows:
                counts = f"{took['tests']:5}  {took['boots']:5}  {took['resumed']:7}"
                write.write_line(f"{took['seconds']:7.0f}  {counts}  {name}")


def _failure(reports):
    """What failed first, in words."""
    return next((report.longreprtext or "no message" for report in reports if report.failed), None)


def _end_process(test):
    """End this process as it is."""
    with contextlib.suppress(OSError, ValueError):
        print(f"{test} hears of no timeout: its process is ended", file=sys.__stderr__, flush=True)
        faulthandler.dump_traceback(file=sys.__stderr__)
    os._exit(1)
