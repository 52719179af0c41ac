"""Effects on files with an owner, and on passwords, on a simulated machine."""

from __future__ import annotations

import errno
import os
import posixpath
import shutil
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

from cxlstate.core.effect import Effect
from cxlstate.core.file import PermitFile, PutFile, SetPassword, Unpack
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.performing import performer
from cxlstate.simulator.accounts import Accounts
from cxlstate.simulator.files import Files
from cxlstate.simulator.images import Disks, Drafts
from cxlstate.simulator.world import World

_DONE = Outcome(Result.DONE)


class Place:
    """Puts files in place, by the rules of `machine/posix/file_effects.py`."""

    def __init__(
        self,
        world: World,
        files: Files,
        store: Callable[[bytes], str],
        step: Callable[[str], None],
        drafts: Drafts,
    ) -> None:
        self._world = world
        self._files = files
        self._store = store
        self._step = step
        self._drafts = drafts

    def perform(self, effect: Effect) -> tuple[str, Outcome]:
        """Hash of what a file was before (empty: absent, or not to be told), and the outcome."""
        return performer(self.PERFORMERS, type(effect))(self, effect)

    def _permit(self, effect: PermitFile) -> tuple[str, Outcome]:
        self._enter(effect.path)
        return "", self._given(effect) or _DONE

    def _set_password(self, effect: SetPassword) -> tuple[str, Outcome]:
        accounts = Accounts(self._files, self._world.owners)
        ended = accounts.set_hash(effect.user, effect.hash.reveal().decode())
        return "", Outcome(Result.FAILED if ended.status else Result.DONE, ended.status, ended.output)

    def _put(self, effect: PutFile) -> tuple[str, Outcome]:
        self._enter(effect.path)
        files, path = self._files, effect.path
        old = files.read(path) if files.exists(path) else None
        before = "" if old is None else sha256(old).hexdigest()
        told = "" if effect.secret else before
        if before != effect.expects:
            return told, Outcome(Result.STALE)
        if old is not None and not effect.secret:
            self._store(old)
        self._make_folders(effect)
        if complaint := self._unknown(effect):
            return told, Outcome(Result.FAILED, 1, complaint)
        self._drafts.announce(path)
        draft = files.draft(path, effect.data, mode=0o644)
        if effect.mode is not None:
            draft.chmod(effect.mode)
        self._step(f"written, not in place: {path}")
        self._give(path, effect)
        files.put(path, draft)
        self._step(f"in place: {path}")
        self._drafts.forget()
        return told, _DONE

    def _unpack(self, effect: Unpack) -> tuple[str, Outcome]:
        self._enter(effect.folder)
        files, folder, name = self._files, effect.folder, posixpath.basename(effect.folder)
        if files.exists(folder):
            return "", Outcome(Result.STALE)
        if not files.is_file(effect.archive):
            return "", Outcome(Result.FAILED, 1, f"{effect.archive} is not there, or not a regular file\n")
        self._drafts.announce(folder)
        draft = files.draft_of(folder)
        draft.mkdir(mode=0o700)
        failed = _extract(files.real(effect.archive), draft)
        self._step(f"unpacked, not in place: {folder}")
        if not failed and [(one.name, one.is_dir()) for one in draft.iterdir()] != [(name, True)]:
            failed = f"{effect.archive} does not hold one folder {name}\n"
        if not failed:
            (draft / name).rename(files.real(folder))
            self._step(f"in place: {folder}")
        shutil.rmtree(draft)
        self._drafts.forget()
        return "", Outcome(Result.FAILED, 1, failed) if failed else _DONE

    def _enter(self, path: str) -> None:
        """No link on the way, and none in its place."""
        if self._files.inside(path) != path:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)

    def _make_folders(self, effect: PutFile) -> None:
        folder = posixpath.dirname(effect.path)
        missing: list[str] = []
        while not self._files.exists(folder):
            missing.insert(0, folder)
            folder = posixpath.dirname(folder)
        for one in missing:
            self._files.real(one).mkdir(mode=0o700 if effect.private else 0o755)
            if effect.private:
                self._give(one, effect)

    def _given(self, effect: PermitFile) -> Outcome | None:
        """Raises OSError where there is no such file."""
        if not self._files.is_file(effect.path):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), effect.path)
        if complaint := self._unknown(effect):
            return Outcome(Result.FAILED, 1, complaint)
        self._give(effect.path, effect)
        if effect.mode is not None:
            self._files.real(effect.path).chmod(effect.mode)
        return None

    def _unknown(self, effect: PutFile | PermitFile) -> str | None:
        complaint = Disks(self._world, self._files).unknown_account(f"{effect.owner}:{effect.group}")
        return f"{complaint}\n" if complaint else None

    def _give(self, path: str, effect: PutFile | PermitFile) -> None:
        group = effect.group
        if isinstance(effect, PutFile) and effect.private and effect.owner:
            group = group or Accounts(self._files, self._world.owners).login_group(effect.owner)
        if effect.owner or group:
            Disks(self._world, self._files).give(path, f"{effect.owner}:{group}")

    PERFORMERS: ClassVar[dict[type[Effect], Callable[[Place, Any], tuple[str, Outcome]]]] = {
        PutFile: _put,
        PermitFile: _permit,
        SetPassword: _set_password,
        Unpack: _unpack,
    }


def _extract(archive: Path, folder: Path) -> str:
    """What tar(1) says where it cannot; empty: all of it is there."""
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (EOFError, OSError, tarfile.TarError) as error:
        return f"tar: {archive.name}: {error}\n"
    return ""
