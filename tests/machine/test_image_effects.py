"""Effects on disk images with the real qemu-img and downloaders, on a real file system."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cxlstate.core.action import Run
from cxlstate.core.address import Address
from cxlstate.core.image import FetchFile, GrowImage, MakeImage, PermitImage, RemoveImage
from cxlstate.core.reconciler import Resource
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.writer import PosixWriter
from cxlstate.resources.image.reconcile import reconciler
from cxlstate.resources.image.spec import ImageSpec
from tests.libvirt import daemon as daemons
from tests.machine.conftest import ENTRY, AsNobody
from tests.machine.images import held
from tests.machine.web import serving, wait_for

DONE = Outcome(Result.DONE)
MIB = 1 << 20

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-utils")


@pytest.fixture
def writer(places):
    made = PosixWriter(
        LocalTransport(), "box", survives_reboot=False, settings=Settings(**places, patience=5)
    )
    yield made
    made.close()


@pytest.fixture
def web():
    with serving() as made:
        yield made


def journal(tmp_path):
    return [json.loads(line) for line in (tmp_path / "state" / "journal.jsonl").read_text().splitlines()]


def drafts(tmp_path):
    return list(tmp_path.rglob("*.cxlstate*")) + list(tmp_path.rglob("leftover"))


def qemu_img(*words):
    return subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True, text=True).stdout


def info(path):
    return json.loads(qemu_img("info", "--output=json", "-U", path))


def base(tmp_path, size="4M", format_="qcow2", name="base", byte=0x5A):
    """An image with something in it."""
    path = tmp_path / f"{name}.{format_}"
    qemu_img("create", "-q", "-f", format_, path, size)
    written = ["qemu-io", "-f", format_, "-c", f"write -q -P {byte} 64k 64k", str(path)]
    subprocess.run(written, check=True, capture_output=True)
    return path


def same(one, other):
    compared = subprocess.run(["qemu-img", "compare", str(one), str(other)], check=False, capture_output=True)
    return compared.returncode == 0


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def identity(path):
    stat = path.stat()
    return f"{stat.st_dev}:{stat.st_ino}"


# Making --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["qcow2", "raw"])
def test_an_empty_image(writer, tmp_path, format_):
    path = tmp_path / "new" / "guest.img"
    assert writer.perform(MakeImage(str(path), format_, size=8 * MIB), ENTRY) == DONE
    made = info(path)
    assert (made["format"], made["virtual-size"]) == (format_, 8 * MIB)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o755
    assert path.stat().st_nlink == 1
    begin, done = journal(tmp_path)
    assert (begin["event"], done["event"], done["effect"]) == ("begin", "done", "make-image")
    assert not drafts(tmp_path)


@pytest.mark.parametrize("source_format", ["qcow2", "raw", "vmdk"])
@pytest.mark.parametrize("told", [True, False])
def test_a_copy_is_converted_and_grown(writer, tmp_path, source_format, told):
    source = base(tmp_path, format_=source_format)
    before = digest(source)
    path = tmp_path / "guest.img"
    effect = MakeImage(
        str(path), "qcow2", size=16 * MIB, source=str(source), source_format=source_format if told else None
    )
    assert writer.perform(effect, ENTRY) == DONE
    made = info(path)
    assert (made["format"], made["virtual-size"]) == ("qcow2", 16 * MIB)
    assert "backing-filename" not in made
    pattern = subprocess.run(
        ["qemu-io", "-r", "-c", "read -q -P 0x5a 64k 64k", str(path)], check=False, capture_output=True
    )
    assert pattern.returncode == 0
    assert b"fail" not in pattern.stdout
    assert digest(source) == before


def test_a_copy_is_as_large_as_its_source_where_no_size_is_asked_for(writer, tmp_path):
    source = base(tmp_path)
    assert writer.perform(MakeImage(f"{tmp_path}/guest", "raw", source=str(source)), ENTRY) == DONE
    assert (tmp_path / "guest").stat().st_size == 4 * MIB
    assert same(source, tmp_path / "guest")


def test_an_overlay_has_its_source_as_backing_file(writer, tmp_path):
    source = base(tmp_path, format_="raw")
    before = digest(source)
    path = tmp_path / "guest.qcow2"
    effect = MakeImage(
        str(path), "qcow2", size=8 * MIB, source=str(source), source_format="raw", overlay=True
    )
    assert writer.perform(effect, ENTRY) == DONE
    made = info(path)
    assert (made["full-backing-filename"], made["backing-filename-format"]) == (str(source), "raw")
    assert made["virtual-size"] == 8 * MIB
    assert digest(source) == before


def test_a_copy_of_an_overlay_stands_by_itself(writer, tmp_path):
    source = base(tmp_path)
    over = tmp_path / "over.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", source, "-F", "qcow2", over)
    assert writer.perform(MakeImage(f"{tmp_path}/guest", "qcow2", source=str(over)), ENTRY) == DONE
    assert "backing-filename" not in info(tmp_path / "guest")
    assert same(source, tmp_path / "guest")


def test_owner_and_mode_are_set_before_it_is_in_place(writer, tmp_path):
    path = tmp_path / "guest.qcow2"
    effect = MakeImage(str(path), "qcow2", size=MIB, owner="daemon", group="adm", mode=0o640)
    assert writer.perform(effect, ENTRY) == DONE
    assert (path.owner(), path.group(), path.stat().st_mode & 0o7777) == ("daemon", "adm", 0o640)


def test_a_user_that_there_is_not_leaves_nothing(writer, tmp_path):
    effect = MakeImage(f"{tmp_path}/guest", "qcow2", size=MIB, owner="no-such-user", mode=0o640)
    outcome = writer.perform(effect, ENTRY)
    assert outcome.result is Result.FAILED
    assert "invalid user" in outcome.output
    assert sorted(one.name for one in tmp_path.iterdir()) == ["lock", "state"]


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_what_is_there_is_never_written_over(writer, tmp_path, what):
    path = tmp_path / "guest"
    if what == "folder":
        path.mkdir()
    elif what == "link":
        (tmp_path / "behind").write_bytes(b"somebody's")
        path.symlink_to("behind")
    else:
        path.write_bytes(b"somebody's")
    assert writer.perform(MakeImage(str(path), "qcow2", size=MIB), ENTRY).result is Result.STALE
    assert path.is_dir() or path.read_bytes() == b"somebody's"
    assert not drafts(tmp_path)


def test_what_comes_while_it_is_made_is_never_written_over(places, tmp_path):
    """A `sync` that makes the image's name its own, just before the draft is put in place."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sync").write_text(
        f'#!/bin/sh\ncase "$*" in *.guest.cxlstate) echo theirs >{tmp_path}/guest;; esac\n'
        'exec /bin/sync "$@"\n'
    )
    (tools / "sync").chmod(0o755)
    writer = PosixWriter(
        WithPath(f"{tools}:{os.environ['PATH']}"), "box", survives_reboot=False, settings=Settings(**places)
    )
    assert writer.perform(MakeImage(f"{tmp_path}/guest", "qcow2", size=MIB), ENTRY).result is Result.STALE
    writer.close()
    assert (tmp_path / "guest").read_text() == "theirs\n"
    assert not drafts(tmp_path)


def test_a_source_that_is_larger_is_not_cut(writer, tmp_path):
    source = base(tmp_path)
    for overlay in (False, True):
        effect = MakeImage(f"{tmp_path}/guest", "qcow2", size=MIB, source=str(source), overlay=overlay)
        outcome = writer.perform(effect, ENTRY)
        assert outcome.result is Result.FAILED
        assert f"holds a disk of {4 * MIB} bytes, more than the {MIB} that are asked for" in outcome.output
    assert not (tmp_path / "guest").exists()


def test_a_source_with_another_sum_or_none_at_all_makes_nothing(writer, tmp_path):
    source = base(tmp_path)
    effect = MakeImage(f"{tmp_path}/guest", "qcow2", source=str(source), sha256="0" * 64)
    outcome = writer.perform(effect, ENTRY)
    assert f"{source} has SHA-256 {digest(source)}, expected {'0' * 64}" in outcome.output
    outcome = writer.perform(MakeImage(f"{tmp_path}/guest", "qcow2", source=f"{tmp_path}/none"), ENTRY)
    assert f"{tmp_path}/none is not there" in outcome.output
    right = MakeImage(f"{tmp_path}/guest", "qcow2", source=str(source), sha256=digest(source))
    assert writer.perform(right, ENTRY) == DONE


def test_a_source_that_would_have_other_files_opened_is_refused_where_its_sum_is_named(writer, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    backed, split = tmp_path / "backed.qcow2", tmp_path / "split.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", backed)
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path}/data,data_file_raw=on", split, "1M")
    flat = tmp_path / "flat.vmdk"
    qemu_img("create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", flat, "1M")
    for source in (backed, split, flat):
        effect = MakeImage(f"{tmp_path}/guest", "qcow2", source=str(source), sha256=digest(source))
        outcome = writer.perform(effect, ENTRY)
        assert outcome.result is Result.FAILED
        assert "needs other files" in outcome.output
    assert not (tmp_path / "guest").exists()
    whole = base(tmp_path, format_="vmdk")
    effect = MakeImage(f"{tmp_path}/guest", "qcow2", source=str(whole), sha256=digest(whole))
    assert writer.perform(effect, ENTRY) == DONE


def test_a_source_that_is_written_to_is_not_copied(writer, tmp_path):
    source = base(tmp_path)
    with held(source):
        outcome = writer.perform(MakeImage(f"{tmp_path}/guest", "qcow2", source=str(source)), ENTRY)
    assert outcome.result is Result.FAILED
    assert "lock" in outcome.output
    assert not (tmp_path / "guest").exists()
    assert not drafts(tmp_path)


HOSTILE = ["$(touch owned)", "a b", "quo'te", 'quo"te', "-n", "a,size=1", "\\", "ü", "json:{}", "a:b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_literal(writer, tmp_path, name):
    source = base(tmp_path, name=f"base {name}")
    path = tmp_path / name
    effect = MakeImage(str(path), "qcow2", size=8 * MIB, source=str(source), overlay=True)
    assert writer.perform(effect, ENTRY) == DONE
    assert info(path)["full-backing-filename"] == str(source)
    assert writer.perform(GrowImage(str(path), 16 * MIB, "qcow2"), ENTRY) == DONE
    assert info(path)["virtual-size"] == 16 * MIB
    assert writer.perform(RemoveImage(str(path), identity(path)), ENTRY) == DONE
    assert sorted(one.name for one in tmp_path.iterdir()) == [source.name, "lock", "state"]


class WithPath(LocalTransport):
    """This machine with other programs in sight."""

    def __init__(self, path):
        super().__init__()
        self._path = path

    def start(self, command):
        return super().start(f"PATH={self._path}; export PATH; {command}")


@pytest.fixture
def without(places, tmp_path):
    """A writer on a machine that lacks some tools."""
    opened = []

    def make(*missing):
        tools = tmp_path / "tools"
        tools.mkdir()
        for folder in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"):
            for tool in Path(folder).iterdir():
                if tool.name not in missing and not (tools / tool.name).is_symlink():
                    (tools / tool.name).symlink_to(tool)
        settings = Settings(**places, patience=5)
        # The agent adds the usual folders to the path: an unshared view of them has nothing in it.
        opened.append(PosixWriter(Bare(tools, missing), "box", survives_reboot=False, settings=settings))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


class Bare(LocalTransport):
    """This machine without some programs: in a mount namespace, each has an empty file over it."""

    def __init__(self, tools, missing):
        super().__init__()
        hidden = [path for name in missing if (path := shutil.which(name, path="/usr/bin:/usr/sbin"))]
        self._hide = "".join(f"mount --bind {tools}/../unusable {path};" for path in hidden)
        (tools.parent / "unusable").touch(mode=0o644)
        self._tools = tools

    def start(self, command):
        inner = f"{self._hide} PATH={self._tools}; export PATH; {command}"
        quoted = inner.replace("'", "'\\''")
        return super().start(f"unshare -m sh -c '{quoted}'")


def test_without_qemu_img_it_says_what_to_install(without, tmp_path):
    writer = without("qemu-img")
    outcome = writer.perform(MakeImage(f"{tmp_path}/guest", "qcow2", size=MIB), ENTRY)
    assert outcome == Outcome(Result.FAILED, 1, "qemu-img is not installed (package qemu-utils)\n")


# Fetching ------------------------------------------------------------------------------------------

DOWNLOADERS = ["curl", "python3", "wget"]


@pytest.fixture(params=["curl", *(pytest.param(one, marks=pytest.mark.slow) for one in DOWNLOADERS[1:])])
def downloads(request, without):
    """A writer on a machine that has one of them."""
    if shutil.which(request.param) is None:
        pytest.skip(f"needs {request.param}")
    return without(*(tool for tool in DOWNLOADERS if tool != request.param))


CONTENT = os.urandom(3 * MIB + 17)
SUM = hashlib.sha256(CONTENT).hexdigest()


def fetch(web, tmp_path, path="/base.qcow2", sha256=SUM, **more):
    return FetchFile(web.url(path), sha256, f"{tmp_path}/cache/{sha256}", **more)


def part(tmp_path):
    return tmp_path / "cache" / f"{SUM}.part"


def test_a_file_is_fetched_once(downloads, web, tmp_path):
    web.files["/base.qcow2"] = CONTENT
    effect = fetch(web, tmp_path, "/base.qcow2?token=secret")
    assert downloads.perform(effect, ENTRY).result is Result.DONE
    assert Path(effect.path).read_bytes() == CONTENT
    assert Path(effect.path).stat().st_mode & 0o777 == 0o600
    assert downloads.perform(effect, ENTRY).result is Result.DONE
    assert len(web.asked) == 1
    assert [one.name for one in (tmp_path / "cache").iterdir()] == [SUM]
    assert "secret" not in (tmp_path / "state" / "journal.jsonl").read_text()
    assert journal(tmp_path)[0]["url"].endswith("/base.qcow2?…")


def test_what_is_missing_of_it_is_fetched(downloads, web, tmp_path):
    web.files["/base.qcow2"] = CONTENT
    part(tmp_path).parent.mkdir()
    part(tmp_path).write_bytes(CONTENT[:MIB])
    assert downloads.perform(fetch(web, tmp_path), ENTRY).result is Result.DONE
    assert (tmp_path / "cache" / SUM).read_bytes() == CONTENT
    assert web.asked == [("/base.qcow2", f"bytes={MIB}-")]


def test_a_transfer_that_breaks_off_is_gone_on_with(downloads, web, tmp_path):
    web.files["/base.qcow2"] = CONTENT
    web.breaks_after = 2 * MIB
    assert downloads.perform(fetch(web, tmp_path), ENTRY).result is Result.DONE
    assert (tmp_path / "cache" / SUM).read_bytes() == CONTENT
    assert web.asked == [("/base.qcow2", ""), ("/base.qcow2", f"bytes={2 * MIB}-")]


@pytest.mark.slow
def test_one_that_gets_no_further_is_given_up_and_kept(downloads, web, tmp_path):
    web.files["/base.qcow2"] = CONTENT
    web.breaks_after, web.once = 1000, False
    outcome = downloads.perform(fetch(web, tmp_path, "/base.qcow2?token=secret"), ENTRY)
    assert outcome.result is Result.FAILED
    assert "did not come whole" in outcome.output
    assert "1000 bytes are kept for the next time" in outcome.output
    assert "secret" not in outcome.output
    assert part(tmp_path).read_bytes() == CONTENT[:1000]
    web.breaks_after = None
    assert downloads.perform(fetch(web, tmp_path), ENTRY).result is Result.DONE


@pytest.mark.slow
def test_one_that_stalls_is_given_up(downloads, web, tmp_path):
    web.files["/base.qcow2"] = CONTENT
    web.breaks_after, web.hangs, web.once = 1000, True, False
    began = time.monotonic()
    outcome = downloads.perform(fetch(web, tmp_path, stall=2), ENTRY)
    assert outcome.result is Result.FAILED
    assert time.monotonic() - began < 20
    assert part(tmp_path).read_bytes() == CONTENT[:1000]


def test_a_server_without_ranges_starts_it_anew(downloads, web, tmp_path):
    web.files["/base.qcow2"] = CONTENT
    web.ranges = False
    part(tmp_path).parent.mkdir()
    part(tmp_path).write_bytes(CONTENT[:MIB])
    assert downloads.perform(fetch(web, tmp_path), ENTRY).result is Result.DONE
    assert (tmp_path / "cache" / SUM).read_bytes() == CONTENT


@pytest.mark.parametrize("of", ["another file", "a longer file", "a torn file", "the whole file"])
def test_whatever_is_there_from_before_it_comes_out_right(downloads, web, tmp_path, of):
    web.files["/base.qcow2"] = CONTENT
    part(tmp_path).parent.mkdir()
    before = {
        "another file": os.urandom(1000),
        "a longer file": CONTENT + b"more",
        "a torn file": CONTENT[:MIB] + bytes(4096),
        "the whole file": CONTENT,
    }
    part(tmp_path).write_bytes(before[of])
    assert downloads.perform(fetch(web, tmp_path), ENTRY).result is Result.DONE
    assert (tmp_path / "cache" / SUM).read_bytes() == CONTENT
    assert web.asked or of == "the whole file"


def test_a_wrong_sum_is_told_and_nothing_is_kept(downloads, web, tmp_path):
    web.files["/base.qcow2"] = b"something else"
    outcome = downloads.perform(fetch(web, tmp_path), ENTRY)
    assert outcome.result is Result.FAILED
    found = hashlib.sha256(b"something else").hexdigest()
    assert f"{web.url('/base.qcow2')} has SHA-256 {found}, expected {SUM}; it was removed" in outcome.output
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_is_not_there_is_told(downloads, web, tmp_path):
    outcome = downloads.perform(fetch(web, tmp_path), ENTRY)
    assert outcome.result is Result.FAILED
    assert "404" in outcome.output
    assert list((tmp_path / "cache").iterdir()) in ([], [part(tmp_path)])
    assert not part(tmp_path).exists() or part(tmp_path).read_bytes() == b""


def test_it_follows_to_the_same_scheme_and_to_no_other(downloads, web, tmp_path, request):
    web.files["/base.qcow2"] = CONTENT
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    web.moved = {"/moved": web.url("/base.qcow2"), "/file": f"file://{secret}", "/ftp": "ftp://127.0.0.1:1/x"}
    for path in ("/file", "/ftp"):
        outcome = downloads.perform(fetch(web, tmp_path, path), ENTRY)
        assert outcome.result is Result.FAILED
        assert not (tmp_path / "cache" / SUM).exists()
    follows = "wget" not in request.node.name  # which cannot be kept from other schemes
    outcome = downloads.perform(fetch(web, tmp_path, "/moved"), ENTRY)
    assert outcome.result is (Result.DONE if follows else Result.FAILED)


def test_the_url_is_in_no_argument_list(downloads, web, tmp_path):
    web.files["/base.qcow2"] = CONTENT
    web.breaks_after, web.hangs, web.once = 1000, True, False
    seen = []

    def look(*_):
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.append(process.read_bytes())
            except OSError:
                continue
        web.over.set()

    with _helping(lambda: (web.reached.wait(20), look())):
        downloads.perform(fetch(web, tmp_path, "/base.qcow2?token=hidden-well"), ENTRY)
    assert seen
    assert not [one for one in seen if b"hidden-well" in one]


@contextmanager
def _helping(act):
    import threading  # noqa: PLC0415  # only here

    helper = threading.Thread(target=act)
    helper.start()
    yield
    helper.join()


def test_without_any_downloader_it_says_so(without, web, tmp_path):
    outcome = without(*DOWNLOADERS).perform(fetch(web, tmp_path), ENTRY)
    assert outcome.output == "neither curl nor python3 nor wget is installed; one of them is needed\n"


def test_a_certificate_that_nobody_vouches_for_is_refused(downloads, tmp_path):
    import ssl  # noqa: PLC0415  # only here

    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*words, *subject, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(context) as web:
        web.files["/base.qcow2"] = CONTENT
        outcome = downloads.perform(
            FetchFile(web.url("/base.qcow2").replace("http:", "https:"), SUM, f"{tmp_path}/cache/{SUM}"),
            ENTRY,
        )
        assert outcome.result is Result.FAILED
        assert "certificate" in outcome.output.lower()
        assert web.asked == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", 'http://x/"\noutput = "/etc/x', "-x"])
def test_a_url_of_another_kind_is_not_even_tried(writer, tmp_path, url):
    outcome = writer.perform(FetchFile(url, SUM, f"{tmp_path}/cache/{SUM}"), ENTRY)
    assert outcome == Outcome(Result.FAILED, 1, "not a URL of http or https in plain signs")
    assert not (tmp_path / "cache").exists()


CLIENT = """
import sys
from cxlstate.core.image import FetchFile, MakeImage
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.outcome import Entry
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.writer import PosixWriter
state, lock, effect = sys.argv[1:]
writer = PosixWriter(LocalTransport(), "box", survives_reboot=False, settings=Settings(state, lock, 5))
writer.perform(eval(effect), Entry("run", (), "does it", "live"))
"""


@contextmanager
def at_work(places, effect):
    """A client of its own in the middle of an effect."""
    words = [sys.executable, "-c", CLIENT, places["state"], places["lock"], repr(effect)]
    with subprocess.Popen(words) as client:
        yield client
        client.kill()


def kill_all(places):
    """As a power cut: the agent, its script and what that runs. Until there is none: one dies when it can."""

    def nobody_is_left():
        found = list(at_work_for(places))
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not found

    wait_for(nobody_is_left)


def at_work_for(places):
    wanted = places["state"].encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            named = wanted in (process / "cmdline").read_bytes()
            if named or str((process / "fd" / "9").readlink()) == places["lock"]:
                yield int(process.name)


def test_killed_in_the_middle_of_a_transfer_the_next_one_goes_on(places, web, tmp_path):
    web.files["/base.qcow2"] = CONTENT
    web.breaks_after, web.hangs = 2 * MIB, True
    effect = fetch(web, tmp_path)
    with at_work(places, effect):
        assert web.reached.wait(20)
        wait_for(lambda: part(tmp_path).exists() and part(tmp_path).stat().st_size > MIB)
        kill_all(places)
    kept = part(tmp_path).stat().st_size
    writer = PosixWriter(LocalTransport(), "box", survives_reboot=False, settings=Settings(**places))
    assert writer.perform(effect, ENTRY) == DONE
    writer.close()
    assert (tmp_path / "cache" / SUM).read_bytes() == CONTENT
    assert web.asked == [("/base.qcow2", ""), ("/base.qcow2", f"bytes={kept}-")]


def test_killed_while_an_image_is_made_nothing_is_in_place_and_the_draft_goes(places, tmp_path):
    source = tmp_path / "base.raw"
    with source.open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(MIB))
    path = tmp_path / "guest.qcow2"
    effect = MakeImage(str(path), "qcow2", source=str(source), source_format="raw")
    draft = tmp_path / ".guest.qcow2.cxlstate"
    with at_work(places, effect):
        wait_for(lambda: draft.exists() and draft.stat().st_size > MIB)
        kill_all(places)
    assert not path.exists()
    assert draft.exists()
    writer = PosixWriter(LocalTransport(), "box", survives_reboot=False, settings=Settings(**places))
    assert not draft.exists(), "the next one clears up before it begins"
    assert writer.perform(effect, ENTRY) == DONE
    writer.close()
    assert same(source, path)


# A full disk ---------------------------------------------------------------------------------------


class Mounted(LocalTransport):
    """This machine with something mounted, which nobody else sees."""

    def __init__(self, mount):
        super().__init__()
        self.mount = mount

    def start(self, command):
        quoted = f"{self.mount} {command}".replace("'", "'\\''")
        return super().start(f"unshare -m sh -c '{quoted}'")


@pytest.fixture
def on_a_small_disk(places, tmp_path):
    path, disk = tmp_path / "disk", tmp_path / "disk.ext2"
    path.mkdir()
    subprocess.run(["truncate", "--size=1M", disk], check=True)
    subprocess.run(["mke2fs", "-q", "-F", "-m", "0", disk], check=True)
    mount = f"mount -o loop {disk} {path};"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], check=False).returncode:
        pytest.skip("needs a mount namespace and loop devices")
    made = PosixWriter(Mounted(mount), "box", survives_reboot=False, settings=Settings(**places, patience=5))
    yield made
    made.close()


def look(writer, path):
    """What is on its disk."""
    return writer.perform(Run(("find", str(path), "-type", "f")), ENTRY).output


@pytest.mark.parametrize("overlay", [False, True])
def test_a_full_disk_has_no_half_image(on_a_small_disk, tmp_path, overlay):
    source = tmp_path / "base.raw"
    source.write_bytes(os.urandom(4 * MIB))
    filled = Run(("sh", "-c", f"! head -c 4M /dev/zero >{tmp_path}/disk/full"))
    assert not overlay or on_a_small_disk.perform(filled, ENTRY).result is Result.DONE
    path = tmp_path / "disk" / "guest.qcow2"
    effect = MakeImage(str(path), "qcow2", source=str(source), source_format="raw", overlay=overlay)
    outcome = on_a_small_disk.perform(effect, ENTRY)
    assert outcome.result is Result.FAILED
    assert "No space left on device" in outcome.output
    assert "guest" not in look(on_a_small_disk, tmp_path / "disk")


def test_a_full_disk_is_not_left_full_by_half_a_download(on_a_small_disk, web, tmp_path):
    web.files["/base.qcow2"] = CONTENT
    effect = FetchFile(web.url("/base.qcow2"), SUM, f"{tmp_path}/disk/cache/{SUM}")
    outcome = on_a_small_disk.perform(effect, ENTRY)
    assert outcome.result is Result.FAILED
    assert f"no room for it in {tmp_path}/disk/cache; what had come of it was removed" in outcome.output
    assert look(on_a_small_disk, tmp_path / "disk") == ""


# Where others may write, and what is memory --------------------------------------------------------


NOBODY = 65534

EVERY = {
    "make": lambda path: MakeImage(path, "raw", size=MIB, owner="daemon", mode=0o666),
    "grow": lambda path: GrowImage(path, 8 * MIB, "raw"),
    "permit": lambda path: PermitImage(path, "daemon", "daemon", 0o666),
    "remove": lambda path: RemoveImage(path, identity(Path(path))),
}
"""What is done to images as root."""


@pytest.fixture
def victim(tmp_path):
    """A file of root's that nobody but root may change."""
    path = tmp_path / "victim"
    path.write_bytes(b"root's" * 100)
    path.chmod(0o600)
    yield path
    assert path.read_bytes() == b"root's" * 100
    assert (path.stat().st_uid, path.stat().st_mode & 0o7777) == (0, 0o600)


def folder_of(tmp_path, kind):
    """A folder to which somebody besides root may write, in one way or another."""
    folder = tmp_path / "folder"
    folder.mkdir()
    match kind:
        case "owned":
            os.chown(folder, NOBODY, NOBODY)
        case "group":
            os.chown(folder, 0, NOBODY)
            folder.chmod(0o775)
        case "all":
            folder.chmod(0o777)
        case "sticky":
            folder.chmod(0o1777)
        case "above":
            os.chown(folder, NOBODY, NOBODY)
            folder /= "roots"
            folder.mkdir()
        case "linked":
            os.chown(folder, NOBODY, NOBODY)
            (tmp_path / "roots").mkdir()
            folder /= "link"
            folder.symlink_to(tmp_path / "roots")
    return folder


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((kind, name) for kind in ("owned", "group", "all", "above", "linked") for name in EVERY),
        ("sticky", "make"),
    ],
)
def test_nothing_is_done_where_others_can_swap_what_the_path_leads_to(writer, tmp_path, victim, kind, name):
    folder = folder_of(tmp_path, kind)
    draft = folder / ".guest.cxlstate"
    draft.symlink_to(victim)
    if name != "make":
        shutil.copy(victim, folder / "guest")
    before = sorted(folder.iterdir())
    outcome = writer.perform(EVERY[name](str(folder / "guest")), ENTRY)
    assert outcome.result is Result.FAILED
    assert f"users other than root can replace files in {tmp_path}/folder (owner " in outcome.output
    assert sorted(folder.iterdir()) == before
    assert draft.is_symlink()


def test_a_folder_of_roots_in_a_sticky_one_is_roots_alone(writer, tmp_path):
    sticky = folder_of(tmp_path, "sticky")
    (sticky / "roots").mkdir()
    assert writer.perform(MakeImage(f"{sticky}/roots/guest", "raw", size=MIB), ENTRY) == DONE
    (sticky / "guest").write_bytes(b"x" * 512)
    assert writer.perform(EVERY["permit"](f"{sticky}/guest"), ENTRY) == DONE
    outcome = writer.perform(EVERY["grow"](f"{sticky}/guest"), ENTRY)
    assert f"in {sticky} (owner root:root, mode 1777)" in outcome.output  # it is its owner's to move now
    (sticky / "theirs").mkdir()
    os.chown(sticky / "theirs", NOBODY, NOBODY)
    outcome = writer.perform(MakeImage(f"{sticky}/theirs/guest", "raw", size=MIB), ENTRY)
    assert f"in {sticky} (owner root:root, mode 1777)" in outcome.output


SWAPPER = """
import os, sys
folder, victim = sys.argv[1:]
os.chdir(folder)
os.setgid(65534); os.setuid(65534)
print(flush=True)
while True:
    for name in ("guest", ".guest.cxlstate"):
        for make in (lambda: os.symlink(victim, name), lambda: os.unlink(name)):
            try:
                make()
            except OSError:
                pass
"""


def test_somebody_who_swaps_links_all_the_time_gets_nothing(writer, tmp_path, victim):
    """As an unprivileged user, in a folder of his: neither what he links to nor its mode changes."""
    folder = folder_of(tmp_path, "owned")
    words = [sys.executable, "-ISc", SWAPPER, str(folder), str(victim)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as swapper:
        assert swapper.stdout.readline()
        try:
            for _ in range(5):
                for name in ("make", "grow", "permit"):
                    effect = EVERY[name](str(folder / "guest"))
                    assert writer.perform(effect, ENTRY).result is not Result.DONE
        finally:
            swapper.kill()


def test_links_of_roots_are_followed(writer, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "links/relative").symlink_to("../real")
    (tmp_path / "links/absolute").symlink_to(tmp_path / "links/relative")
    (tmp_path / "real/alias").symlink_to(f"{tmp_path}/links/absolute/new/../guest")
    path = f"{tmp_path}/links/absolute/alias"
    assert writer.perform(MakeImage(path, "raw", size=MIB), ENTRY) == DONE
    assert (tmp_path / "real/guest").stat().st_size == MIB
    assert writer.perform(PermitImage(path, "daemon", mode=0o640), ENTRY) == DONE
    assert ((tmp_path / "real/guest").owner(), (tmp_path / "real/guest").stat().st_mode & 0o777) == (
        "daemon",
        0o640,
    )
    (tmp_path / "links/round").symlink_to("round")
    outcome = writer.perform(MakeImage(f"{tmp_path}/links/round/guest", "raw", size=MIB), ENTRY)
    assert "too many levels of symbolic links" in outcome.output


def test_no_image_is_made_in_memory(places, tmp_path):
    """Also behind a link that leads into a folder that is not there yet."""
    (tmp_path / "ram").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "ram/new")
    transport = Mounted(f"mount -t tmpfs -o mode=0755 tmpfs {tmp_path}/ram;")
    writer = PosixWriter(transport, "box", survives_reboot=False, settings=Settings(**places))
    for path in (f"{tmp_path}/ram/guest", f"{tmp_path}/link/guest", "/proc/guest", "/sys/guest"):
        outcome = writer.perform(MakeImage(path, "raw", size=MIB), ENTRY)
        assert outcome.result is Result.FAILED
        assert "would be lost at the next boot" in outcome.output
    assert writer.perform(Run(("ls", "-A", f"{tmp_path}/ram")), ENTRY).output == ""
    writer.close()


@pytest.mark.parametrize("format_", ["qcow2", "raw"])
@pytest.mark.parametrize("mode", ["rw", "ro"])
def test_who_writes_to_an_image_is_seen(writer, tmp_path, format_, mode):
    path = base(tmp_path, format_=format_)
    me = Resource(
        Address("image", "guest"), ImageSpec(path="/x", format=format_).model_copy(update={"path": str(path)})
    )
    with held(path, mode):
        live = reconciler.observe(me, writer.read(reconciler.reads(me))).live
    assert live.in_use is (mode == "rw")
    assert not reconciler.observe(me, writer.read(reconciler.reads(me))).live.in_use


# Growing, removing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["qcow2", "raw"])
def test_an_image_is_grown_and_never_made_smaller(writer, tmp_path, format_):
    path = base(tmp_path, format_=format_)
    assert writer.perform(GrowImage(str(path), 8 * MIB, format_), ENTRY) == DONE
    assert info(path)["virtual-size"] == 8 * MIB
    before = digest(path)
    for size in (8 * MIB, 6 * MIB):
        assert writer.perform(GrowImage(str(path), size, format_), ENTRY) == DONE
    assert digest(path) == before


def test_an_image_of_another_format_is_not_grown(writer, tmp_path):
    path = base(tmp_path, format_="raw")
    before = digest(path)
    outcome = writer.perform(GrowImage(str(path), 8 * MIB, "qcow2"), ENTRY)
    assert outcome.result is Result.FAILED
    assert "not in qcow2 format" in outcome.output
    assert digest(path) == before


def test_one_that_no_guest_has_and_that_is_in_use_is_not_grown(without, tmp_path):
    path = base(tmp_path)
    with held(path):
        outcome = without("virsh").perform(GrowImage(str(path), 8 * MIB, "qcow2"), ENTRY)
    assert outcome.result is Result.FAILED
    assert "is in use, and there is no virsh to tell by whom" in outcome.output
    assert info(path)["virtual-size"] == 4 * MIB


TOOLS = ("libvirtd", "virsh", "qemu-system-x86_64", "unshare", "nsenter")
DOMAIN = """
<domain type='qemu'>
  <name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type machine='q35'>hvm</type></os><features><acpi/></features>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/><source file='{disk}'/><target dev='vdb' bus='virtio'/>
    </disk>
  </devices>
</domain>
"""


class Inside(LocalTransport):
    """This machine as it looks beside a private libvirtd."""

    def __init__(self, daemon):
        super().__init__()
        self._enter = shlex.join([*daemon.enter, "sh", "-c"])

    def start(self, command):
        return super().start(f"{self._enter} {shlex.quote(command)}")


@pytest.fixture
def libvirt(tmp_path):
    daemon = daemons.start(tmp_path)
    yield daemon
    daemon.stop()


def virsh(daemon, *words, text=None):
    asked = ["virsh", "--connect", daemon.uri, "--quiet", *words]
    return subprocess.run(asked, check=True, capture_output=True, text=True, input=text).stdout


def paused(daemon, name, disk):
    """A guest that has not begun to run, with a disk."""
    xml = DOMAIN.format(name=name, disk=disk, emulator=shutil.which("qemu-system-x86_64"))
    virsh(daemon, "create", "/dev/stdin", "--paused", text=xml)


@pytest.mark.slow
@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="needs libvirtd, virsh and QEMU")
def test_what_a_running_guest_has_open_is_grown_by_it(places, libvirt, tmp_path):
    """Through a link, and with names that a shell or virsh could take for something else."""
    path, other = base(tmp_path, name="a $disk"), base(tmp_path, name="other")
    (tmp_path / "link").symlink_to(path)
    paused(libvirt, "another", other)
    paused(libvirt, "-a $guest", path)
    writer = PosixWriter(Inside(libvirt), "box", survives_reboot=False, settings=Settings(**places))
    for _ in range(2):
        assert writer.perform(GrowImage(f"{tmp_path}/link", 8 * MIB, "qcow2"), ENTRY) == DONE
        assert info(path)["virtual-size"] == 8 * MIB
    assert writer.perform(GrowImage(str(path), 6 * MIB, "qcow2"), ENTRY) == DONE
    assert info(path)["virtual-size"] == 8 * MIB, "libvirt would have cut it off"
    assert info(other)["virtual-size"] == 4 * MIB
    sizes = virsh(libvirt, "domblkinfo", "--domain", "-a $guest", "--device", "vdb")
    assert sizes.split()[1] == str(8 * MIB)
    third = base(tmp_path, name="third")
    with held(third):
        outcome = writer.perform(GrowImage(str(third), 8 * MIB, "qcow2"), ENTRY)
    assert "is in use, and no running guest has it as a disk" in outcome.output
    outcome = writer.perform(RemoveImage(str(path), identity(path)), ENTRY)
    assert "(qemu-system-x86) has it open" in outcome.output
    writer.close()


def test_an_image_is_removed(writer, tmp_path):
    path = base(tmp_path)
    (tmp_path / "link").symlink_to(path)
    assert writer.perform(RemoveImage(f"{tmp_path}/link", identity(path)), ENTRY) == DONE
    assert path.exists()
    assert not (tmp_path / "link").is_symlink()
    assert writer.perform(RemoveImage(str(path), identity(path)), ENTRY) == DONE
    assert not path.exists()
    assert writer.perform(RemoveImage(str(path), "1:2"), ENTRY) == DONE


def test_another_file_of_the_name_is_not_removed(writer, tmp_path):
    path = base(tmp_path)
    assert writer.perform(RemoveImage(str(path), "1:2"), ENTRY).result is Result.STALE
    assert path.exists()


@pytest.mark.parametrize("mode", ["rw", "ro"])
def test_what_somebody_has_open_is_not_removed(writer, tmp_path, mode):
    path = base(tmp_path)
    with held(path, mode) as process:
        outcome = writer.perform(RemoveImage(str(path), identity(path)), ENTRY)
    assert outcome.result is Result.FAILED
    assert outcome.output == f"{path} is in use: process {process.pid} (qemu-io) has it open\n"
    assert path.exists()


def test_a_backing_file_of_an_image_in_use_is_not_removed(writer, tmp_path):
    source = base(tmp_path)
    over = tmp_path / "over.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", source, "-F", "qcow2", over)
    with held(over):
        outcome = writer.perform(RemoveImage(str(source), identity(source)), ENTRY)
    assert "(qemu-io) has it open" in outcome.output
    assert source.exists()


# A base that others are to read --------------------------------------------------------------------


def test_a_base_in_our_closed_folder_can_be_read_by_who_knows_its_name(writer, web, tmp_path):
    source = base(tmp_path)
    web.files["/base.qcow2"] = source.read_bytes()
    cached = tmp_path / "state" / "images" / digest(source)
    tmp_path.chmod(0o755)
    assert writer.perform(FetchFile(web.url("/base.qcow2"), digest(source), str(cached)), ENTRY) == DONE
    copy = MakeImage(f"{tmp_path}/copy", "qcow2", source=str(cached), sha256=digest(source))
    assert writer.perform(copy, ENTRY) == DONE
    assert cached.stat().st_mode & 0o777 == 0o600
    over = MakeImage(f"{tmp_path}/over", "qcow2", source=str(cached), sha256=digest(source), overlay=True)
    assert writer.perform(over, ENTRY) == DONE
    for folder in (tmp_path / "state", tmp_path / "state" / "images"):
        assert folder.stat().st_mode & 0o777 == 0o711
    assert cached.stat().st_mode & 0o777 == 0o644
    parents = [one for one in tmp_path.parents if not one.stat().st_mode & 0o001]
    if not parents:  # where pytest's own folder lets others through
        reached = AsNobody().exchange(f"cat {cached}", b"", 10, MIB)
        assert reached.stdout == source.read_bytes()
