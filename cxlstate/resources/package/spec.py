"""What may be said of a package: `ndctl`, `ndctl=77-2`, `a | b`, or a mapping."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import Model, check, problem

KERNEL = "{kernel}"
"""In a name, the release of the kernel that runs on the machine, as `uname -r` prints it."""

# deb-control(5): lower case letters, digits and + - . after the first; here with `:architecture`.
# A name that ends in - would have apt-get remove the package; no character of a pattern gets through.
_ARCHITECTURE = r"(:[a-z0-9][a-z0-9-]*)?"
_PLAIN = rf"[a-z0-9][a-z0-9+.-]*[a-z0-9+.]{_ARCHITECTURE}"
_NAME = rf"[a-z0-9][a-z0-9+.-]*([a-z0-9+.]|\{{kernel\}}([a-z0-9+.-]*[a-z0-9+.])?){_ARCHITECTURE}"
_NO_ARCHITECTURES = ("any", "native")  # words of dependencies (deb-src-control(5)); dpkg takes neither
_VERSION = r"[0-9][A-Za-z0-9.+:~-]*"  # deb-version(7)


def _name(text: str) -> str:
    if not re.fullmatch(r"[^{}]*|[^{}]+\{kernel\}[^{}]*", text):
        raise problem(
            "CXP330",
            "invalid placeholder in a package name",
            found=text[:80],
            expected=f"{KERNEL} once, behind the first letters of the name",
            hint=f"write it as `linux-modules-extra-{KERNEL}`",
        )
    if not re.fullmatch(_NAME, text):
        raise problem(
            "CXP101",
            "invalid Debian package name",
            found=text[:80],
            expected="lower case letters, digits, + - and . (two at least), perhaps :architecture",
            hint="write a version after =, alternatives with |: `ndctl=77-2`, `mawk | gawk`",
        )
    if (architecture := text.partition(":")[2]) in _NO_ARCHITECTURES:
        raise problem(
            "CXP101",
            "invalid Debian package name",
            found=text[:80],
            expected="the name of one architecture, as `dpkg --print-architecture` prints it",
            hint=f"remove :{architecture}: without one the machine's own architecture is meant",
        )
    return text


def _version(text: str) -> str:
    if not re.fullmatch(_VERSION, text):
        raise problem(
            "CXP102",
            "invalid Debian package version",
            found=text[:80],
            expected="the complete version as dpkg-query prints it: 77-2+deb12u1",
            hint="remove patterns and comparisons; without a version any is accepted",
        )
    return text


PackageName = Annotated[
    str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})
]
PackageVersion = Annotated[
    str, AfterValidator(_version), WithJsonSchema({"type": "string", "pattern": f"^{_VERSION}$"})
]


class Package(Model):
    """A Debian package that is to be installed, or not to be."""

    name: PackageName = Field(examples=["ndctl"])
    """Its name. A virtual package counts as installed where one that provides it is. `{kernel}` in it is the
    release of the kernel that runs on the machine."""

    version: PackageVersion | None = None
    """Exactly this version; any, if not written."""

    state: Literal["present", "absent"] = "present"
    """Whether it is to be installed. Configuration files of a removed package are left."""

    alternatives: tuple[PackageName, ...] = ()
    """Other packages that will do as well where they are installed; if none is, `name` is installed."""

    @check
    def _version_is_of_one_package(self) -> Iterator[Diagnostic]:
        if self.version and self.alternatives and self.state == "present":
            yield Diagnostic(
                "CXP103",
                "`version` and alternatives exclude each other",
                path=("version",),
                found=self.version,
            )

    @check
    def _absent_takes_no_version(self) -> Iterator[Diagnostic]:
        if self.state == "absent" and self.version:
            yield _absent("version", self.version)

    @check
    def _absent_takes_no_alternatives(self) -> Iterator[Diagnostic]:
        if self.state == "absent" and self.alternatives:
            yield _absent("alternatives", " | ".join(self.alternatives))

    def under(self, kernel: str) -> Package:
        """The package that it means while this kernel runs."""
        names = {
            "name": self.name.replace(KERNEL, kernel),
            "alternatives": tuple(one.replace(KERNEL, kernel) for one in self.alternatives),
        }
        return self.model_copy(update=names)

    @property
    def follows_kernel(self) -> bool:
        """Whether it means another package under another kernel."""
        return any(KERNEL in name for name in (self.name, *self.alternatives))

    @property
    def text(self) -> str:
        """As it is written on one line; for people."""
        return " | ".join((f"{self.name}={self.version}" if self.version else self.name, *self.alternatives))


def is_name(text: str) -> bool:
    """Whether a package can be called so."""
    return re.fullmatch(_PLAIN, text) is not None


def _absent(word: str, found: str) -> Diagnostic:
    return Diagnostic(
        "CXP103",
        "an absent package takes no version and no alternatives",
        path=(word,),
        found=found,
        hint="list each absent package separately",
    )


def _from_text(written: object) -> object:
    """`a=1` and `a | b` as the mapping that they mean."""
    if isinstance(written, dict) and isinstance(others := written.get("alternatives"), list):
        return {**written, "alternatives": tuple(others)}  # strict: a list is no tuple once it is Python's
    if not isinstance(written, str):
        return written
    first, *more = (part.strip() for part in written.split("|"))
    name, equals, version = first.partition("=")
    package: dict[str, object] = {"name": name}
    if equals:
        package["version"] = version
    if more:
        package["alternatives"] = tuple(more)
    return package


Entry = Annotated[Package, BeforeValidator(_from_text, json_schema_input_type=str | Package)]
