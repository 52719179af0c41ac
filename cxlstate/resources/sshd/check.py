"""What keeps a value from getting into force, and what it would lock out or let in. All of it told before."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.formats.sshd_config import (
    DROP_IN,
    FOLDER,
    MAIN,
    Directive,
    deciding,
    directives,
    exceptions,
    plain,
)
from cxlstate.resources.sshd.probe import SshdLive
from cxlstate.resources.sshd.spec import KEYWORDS, SshdSpec

_CLOSED_TO_ROOT = ("no", "forced-commands-only")


def problems(spec: SshdSpec, content: str, live: SshdLive, *, acts: bool) -> Iterator[Diagnostic]:
    """Of what would be in force with our drop-in in its place. `acts`: the daemon will read all of it."""
    if live.broken and not live.broken.startswith(DROP_IN):
        yield _broken(live.broken)
        return
    wanted = spec.wanted()
    found = list(directives({**live.files, DROP_IN: content}))
    yield from _overruled(wanted, found)
    yield from _locked_out(wanted, live)
    if acts and live.login.client is not None:
        yield from _locked_out_by_others(wanted, live, found)
    yield from _excepted(wanted, found)
    yield from _open(spec)


def _broken(said: str) -> Diagnostic:
    return Diagnostic(
        "CXH201",
        "sshd does not accept its configuration",
        found=said,
        expected="a configuration that `sshd -t` accepts",
        hint="fix that line on the machine, then run `sshd -t`; nothing is written or reloaded before",
    )


def _overruled(wanted: Mapping[str, str], found: list[Directive]) -> Iterator[Diagnostic]:
    """The drop-in is not read at all, or only after another line has decided."""
    read = [one for one in found if one.file == DROP_IN]
    if wanted and not [one for one in read if one.is_for_all]:
        where = f"within `Match {read[0].match}`" if read else "not at all"
        yield Diagnostic(
            "CXH202",
            f"{MAIN} does not include {FOLDER}",
            found=f"{DROP_IN} is read {where}",
            expected=f"Include {FOLDER}/*.conf",
            hint=f"put `Include {FOLDER}/*.conf` at the top of {MAIN} (OpenSSH 8.2 or later)",
        )
        return
    for word, value in wanted.items():
        first = deciding(found, KEYWORDS[word])
        if first is not None and first.file != DROP_IN and plain(first.value) != value:
            yield Diagnostic(
                "CXH203",
                f"another line decides {KEYWORDS[word]} first",
                path=(word,),
                found=str(first),
                expected=f"{KEYWORDS[word]} {value}, from {DROP_IN}",
                hint=_makes_way(first),
            )


def _makes_way(first: Directive) -> str:
    if first.match is not None:
        return f"remove that line: it is below `Match {first.match}`, which beats what is outside of any"
    if posixpath.dirname(first.file) == FOLDER:
        return f"remove that line, or rename {first.file} so that it sorts behind 00-cxlstate.conf"
    return f"move `Include {FOLDER}/*.conf` to the top of {MAIN}"


def _locked_out(wanted: Mapping[str, str], live: SshdLive) -> Iterator[Diagnostic]:
    """We come with a key, which is the only way in that cxlstate takes."""
    login = live.login
    if login.client is None:
        return
    came = f"logged in as {login.user} from {login.client}, with a key"
    if wanted.get("pubkey_authentication") == "no":
        yield _lock_out("pubkey_authentication", "no", came, "write `pubkey_authentication: true`")
    root = wanted.get("permit_root_login")
    if login.user == "root" and root in _CLOSED_TO_ROOT:
        hint = "connect as another user who may use sudo, or write `permit_root_login: prohibit-password`"
        yield _lock_out("permit_root_login", str(root), came, hint)


def _locked_out_by_others(
    wanted: Mapping[str, str], live: SshdLive, found: list[Directive]
) -> Iterator[Diagnostic]:
    """Lines that the daemon has not read yet, since it let us in: with ours it would read them, too."""
    login = live.login
    closed = dict(login.closed)
    if live.socket:
        closed.pop("ListenAddress", None)
    if "pubkey_authentication" not in wanted and login.effective.get("pubkeyauthentication") == "no":
        closed["PubkeyAuthentication"] = "no"
    root = login.effective.get("permitrootlogin", "")
    if "permit_root_login" not in wanted and login.user == "root" and root in _CLOSED_TO_ROOT:
        closed["PermitRootLogin"] = root
    for keyword, value in closed.items():
        lines = [str(one) for one in found if one.keyword == keyword.lower()]
        yield Diagnostic(
            "CXH205",
            f"{keyword} {value} would lock us out",
            found="; ".join(lines) or f"{keyword} {value}, and we are {login.user} from {login.client}",
            expected=f"{login.user} from {login.client} can log in with a key",
            hint=f"let {login.user} in there, and plan again; nothing is written or reloaded before",
        )


def _lock_out(word: str, value: str, came: str, hint: str) -> Diagnostic:
    return Diagnostic(
        "CXH204",
        f"{KEYWORDS[word]} {value} would lock us out",
        path=(word,),
        found=came,
        expected="a value that leaves this way in open",
        hint=hint,
    )


def _excepted(wanted: Mapping[str, str], found: list[Directive]) -> Iterator[Diagnostic]:
    for word, value in wanted.items():
        for one in exceptions(found, KEYWORDS[word], value):
            yield Diagnostic(
                "CXH301",
                f"`Match {one.match}` has another {KEYWORDS[word]}",
                Severity.WARNING,
                path=(word,) if word != "kbd_interactive_authentication" else (),
                found=str(one),
                expected=f"{KEYWORDS[word]} {value} for everybody",
                hint="remove it if that is not meant; see `sshd -T -C user=NAME,host=HOST,addr=ADDRESS`",
            )


def _open(spec: SshdSpec) -> Iterator[Diagnostic]:
    for word in ("password_authentication", "kbd_interactive_authentication"):
        if getattr(spec, word):
            yield Diagnostic(
                "CXH302",
                "passwords can be guessed from the network",
                Severity.WARNING,
                path=(word,),
                found=f"{word}: true",
                expected=f"{word}: false, and keys",
                hint="copy a key with ssh-copy-id, then close it",
            )
    if spec.permit_root_login == "yes":
        yield Diagnostic(
            "CXH303",
            "root may log in with a password",
            Severity.WARNING,
            path=("permit_root_login",),
            found="permit_root_login: yes",
            expected="prohibit-password, or 'no' and a user with sudo",
            hint="write `permit_root_login: prohibit-password`",
        )
