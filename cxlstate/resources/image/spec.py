"""What may be said of a disk image: where it is, what it is made from, how large, and whose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import Model, check, problem, written
from cxlstate.core.path import Path
from cxlstate.core.units import Size, format_size
from cxlstate.formats.storage import volatile

_NAME: Final = "[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_SIGNS: Final = r"\x00-\x1f\x7f/*?\[\]"
_PATH: Final = rf"(/[^{_SIGNS}]+)+"
_MAX_STEP: Final = 240  # of the 255 bytes that a file system allows (NAME_MAX): a draft is named after it
_MAX_PATH: Final = 4000
# RFC 3986, without user information, fragment and what a shell or a configuration file may stumble over.
_URL: Final = (
    r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~:/@!$&()*+,;=%-]*)?(\?[A-Za-z0-9._~:/?@!$&()*+,;=%-]*)?"
)
_SHA256: Final = "[0-9a-fA-F]{64}"
_MODE: Final = "0[0-7]{3}"
# As systemd's rule for user names (systemd.io/USER_NAMES), with the @ of a directory service.
_ACCOUNT: Final = r"[A-Za-z_][A-Za-z0-9_.@-]{0,255}"

SECTOR: Final = 512
_TOP: Final = 1 << 63
"""qemu-img: "Image size must be less than 8 EiB"."""


def _name(text: str) -> str:
    if not re.fullmatch(_NAME, text):
        raise problem(
            "CXI201",
            "invalid image name",
            found=text[:80],
            expected="letters, digits, _ . and -, at most 63 of them, a letter or digit first",
            hint="the name is yours, for `image.NAME`; where the image is stands in `path`",
        )
    return text


def _path(text: str) -> str:
    steps = text.split("/")[1:]
    plain = re.fullmatch(_PATH, text) and not any(
        step in (".", "..") or step != step.strip() for step in steps
    )
    fits = len(text.encode()) <= _MAX_PATH and all(len(step.encode()) <= _MAX_STEP for step in steps)
    if not plain or not fits:
        raise problem(
            "CXI202",
            "invalid image path",
            found=text[:80],
            expected="an absolute path such as /var/lib/libvirt/images/guest.qcow2, "
            "without . and .. and without * ? [ ]",
            hint=f"a name in it is at most {_MAX_STEP} bytes long" if plain else None,
        )
    return text


def _size(size: int) -> int:
    if size % SECTOR or size >= _TOP:
        raise problem(
            "CXI203",
            "invalid disk size",
            found=format_size(size),
            expected=f"a multiple of {SECTOR} bytes, below 8EiB",
        )
    return size


def _url(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if "@" in rest.partition("/")[0]:
        raise problem(
            "CXI205",
            "the URL contains a password",
            expected="https://HOST/PATH",
            hint="fetch it by hand and name it with `path`; and change that password if the file was shared",
        )
    if not re.fullmatch(_URL, text):
        file = (
            f"write source: {{path: {rest}}}"
            if scheme == "file" and separator and rest.startswith("/")
            else None
        )
        raise problem(
            "CXI204",
            "invalid URL of an image",
            found=text.partition("?")[0][:80],
            expected="https://HOST/PATH or http://HOST/PATH; other signs as %XX",
            hint=file,
        )
    return text


def _sha256(text: str) -> str:
    if not re.fullmatch(_SHA256, text):
        raise problem(
            "CXI206",
            "invalid SHA-256",
            found=text[:80],
            expected="64 hexadecimal digits, as sha256sum prints them",
        )
    return text.lower()


def _mode(text: str) -> str:
    if not re.fullmatch(_MODE, text):
        raise problem(
            "CXI207",
            "invalid file mode",
            found=text[:80],
            expected="four octal digits such as 0640, the first of them 0",
        )
    return text


def _account(text: str) -> str:
    if not re.fullmatch(_ACCOUNT, text):
        raise problem(
            "CXI208",
            "invalid user or group name",
            found=text[:80],
            expected="letters, digits and _ . @ -, a letter or _ first",
            hint="write the name, not its number",
        )
    return text


def _kept(where: Path, path: str | None) -> Iterator[Diagnostic]:
    """Below /dev a missing name is a device that is not there, which a file would then hide."""
    if path and (folder := volatile(path)):
        device = "activate the logical volume (lvchange -ay VG/LV) and name it in the disks of the VM: path: "
        yield Diagnostic(
            "CXI320",
            "an image here would be lost at the next boot",
            path=where,
            found=path,
            expected=f"a path outside {folder}, which does not outlive a boot",
            hint=f"{device}{path}" if folder == "/dev" else "write path: /var/lib/libvirt/images/NAME.qcow2",
        )


def _overlay(path: Path, found: str) -> Diagnostic:
    return Diagnostic(
        "CXI211",
        "an overlay needs format qcow2 and a source",
        path=path,
        found=found,
        expected="format: qcow2 and a source",
    )


ImageName = Annotated[
    str,
    AfterValidator(_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$", "examples": ["cxl_vmx"]}),
]
ImagePath = Annotated[
    str,
    AfterValidator(_path),
    WithJsonSchema(
        {"type": "string", "pattern": f"^{_PATH}$", "examples": ["/var/lib/libvirt/images/cxl_vmx.qcow2"]}
    ),
]
ImageUrl = Annotated[
    str,
    AfterValidator(_url),
    WithJsonSchema(
        {"type": "string", "pattern": f"^{_URL}$", "examples": ["https://example.org/base.qcow2"]}
    ),
]
Sha256 = Annotated[
    str, AfterValidator(_sha256), WithJsonSchema({"type": "string", "pattern": f"^{_SHA256}$"})
]
FileMode = Annotated[
    str,
    AfterValidator(_mode),
    WithJsonSchema({"type": "string", "pattern": f"^{_MODE}$", "examples": ["0640"]}),
]
Account = Annotated[
    str,
    AfterValidator(_account),
    WithJsonSchema({"type": "string", "pattern": f"^{_ACCOUNT}$", "examples": ["libvirt-qemu"]}),
]


SourceFormat = Literal["qcow2", "raw", "vmdk", "vdi", "vhdx", "vpc"]


class ImageSource(Model):
    """What an image is made from."""

    path: ImagePath | None = None
    """A file on the host."""

    url: ImageUrl | None = None
    """A file that the host fetches, once, into a cache of its own."""

    sha256: Sha256 | None = None
    """SHA-256 of the file. With a URL it has to be there; a file that has another one is not used."""

    format: SourceFormat | None = None
    """Its format. As qemu-img sees it, unless written."""

    @check
    def _is_one_file(self) -> Iterator[Diagnostic]:
        ways = written(self, "path", "url")
        if len(ways) != 1:
            yield Diagnostic(
                "CXI209",
                "source needs either path or url",
                path=("url",) if ways else (),
                found="both" if ways else "neither",
                expected="path: /srv/images/base.qcow2, or url with sha256",
            )

    @check
    def _download_is_known(self) -> Iterator[Diagnostic]:
        if self.url and not self.sha256:
            yield Diagnostic(
                "CXI210",
                "url needs sha256",
                path=("url",),
                found="url alone",
                expected="sha256: 64 hexadecimal digits",
                hint="take it from who publishes the image; sha256sum FILE prints that of a file you trust",
            )


class ImageSpec(Model):
    """A disk image: made once, grown where it is too small, and never written over."""

    path: ImagePath
    """Where it is on the host."""

    format: Literal["qcow2", "raw"] = "qcow2"
    """How it is kept. An image that is there in another format is an error."""

    source: ImageSource | None = None
    """What it is made from; an empty one of `size`, if not written. Contents are not compared afterwards."""

    as_: Annotated[Literal["copy", "overlay"], Field(alias="as")] = "copy"
    """`copy`: all of the source. `overlay`: what differs from the source, which has to stay as it is."""

    size: Annotated[Size, AfterValidator(_size)] | None = None
    """Virtual size: what a guest sees. Grown only. As large as the source, unless written."""

    owner: Account | None = None
    """Whose file it is. While a guest runs on it, it is libvirt's to say."""

    group: Account | None = None
    """Of which group; likewise."""

    mode: FileMode | None = None
    """Who may read and write it. Closed to all but its owner when it is made, unless written."""

    state: Literal["present", "absent"] = "present"
    """`absent`: the file is removed, with all that is in it."""

    @check
    def _overlay_has_a_source(self) -> Iterator[Diagnostic]:
        if self.wanted and self.overlay and self.source is None:
            yield _overlay(("as",), "no source")

    @check
    def _overlay_is_qcow2(self) -> Iterator[Diagnostic]:
        if self.wanted and self.overlay and self.format != "qcow2":
            yield _overlay(("format",), self.format)

    @check
    def _file_is_kept(self) -> Iterator[Diagnostic]:
        """What a guest writes to has to outlive a boot."""
        if self.wanted:
            yield from _kept(("path",), self.path)

    @check
    def _source_is_kept(self) -> Iterator[Diagnostic]:
        """So has what an overlay stands on."""
        if self.wanted and self.overlay and self.source:
            yield from _kept(("source", "path"), self.source.path)

    @check
    def _is_not_its_own_source(self) -> Iterator[Diagnostic]:
        if self.wanted and self.source and self.source.path == self.path:
            yield Diagnostic(
                "CXI212",
                "the image is its own source",
                path=("source", "path"),
                found=self.path,
                expected="another file as its source",
                hint="leave out source: an image that is there is kept as it is",
            )

    @property
    def wanted(self) -> bool:
        """Whether it is to be there."""
        return self.state == "present"

    @property
    def overlay(self) -> bool:
        """Whether it is to be laid over its source."""
        return self.as_ == "overlay"
