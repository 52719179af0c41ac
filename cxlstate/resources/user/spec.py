"""What may be said of a user: the groups that it must be in."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from cxlstate.core.model import Model, problem

# Wider than adduser's rule, so that names of a directory service pass; never a number, which getent
# would look up as an id.
_NAME = r"[A-Za-z_][A-Za-z0-9_.@-]{0,255}"


def _name(what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(_NAME, text):
            raise problem(
                "CXU101",
                f"invalid {what} name",
                found=text[:80],
                expected="letters, digits and _ . @ -, a letter or _ first",
                hint=f"write the name of the {what}, not its number",
            )
        return text

    return AfterValidator(check)


UserName = Annotated[str, _name("user"), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})]
GroupName = Annotated[str, _name("group"), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})]


class User(Model):
    """A user that exists already."""

    groups: Annotated[tuple[GroupName, ...], Field(strict=False)] = Field(
        default=(), examples=[["kvm", "libvirt"]]
    )
    """Groups that it must be in. Others are left."""
