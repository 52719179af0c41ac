"""What the documents say is so: specs, links, words, targets, codes, and the form of the error pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cxlstate.pages import pages
from cxlstate.spec.load import Loaded, load
from cxlstate.spec.schema import schema
from tests.docs.story import DOCUMENTS, ROOT, blocks

LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
CODE = re.compile(r"\bCX[A-Z]\d{3}\b")
SOURCES = sorted((ROOT / "cxlstate").rglob("*.py"))
PAGES = sorted(pages().values())


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def prose_of(document: Path) -> str:
    text = text_of(document)
    for block in reversed(blocks(text)):
        text = text[: block.start] + text[block.end :]
    return text


def specs_of(documents: list[Path]) -> list:
    """Whole specs; one with a file name is a part of a story, and run there."""
    return [
        pytest.param(block.text, id=f"{document.name}:{block.line}")
        for document in documents
        for block in blocks(text_of(document))
        if block.language == "yaml" and block.text.startswith("apiVersion") and not block.file
    ]


def load_text(folder: Path, text: str) -> Loaded:
    file = folder / "spec.yaml"
    file.write_text(text, encoding="utf-8")
    return load([file])


@pytest.mark.parametrize("text", specs_of(DOCUMENTS))
def test_every_spec_that_is_shown_is_valid(text, tmp_path):
    loaded = load_text(tmp_path, text)
    assert not loaded.diagnostics
    assert loaded.trees


@pytest.mark.parametrize("text", specs_of(PAGES))
def test_a_spec_on_an_error_page_has_nothing_but_that_error(text, request, tmp_path):
    """Or none, where it shows how it is right."""
    found = {diagnostic.code for diagnostic in load_text(tmp_path, text).diagnostics}
    assert found <= {request.node.callspec.id.partition(".")[0]}


@pytest.mark.parametrize("document", [*DOCUMENTS, *PAGES], ids=lambda path: path.name)
def test_every_link_leads_somewhere(document):
    for target, heading in LINK.findall(prose_of(document)):
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), target
        if heading:
            assert heading in anchors(path), f"{target}#{heading}"


def anchors(document: Path) -> set[str]:
    """As forges make them of headings: lower case, blanks as hyphens, without punctuation."""
    headings = re.findall(r"^#+ (.*)$", prose_of(document), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_table_of_contents_has_every_document():
    listed = {
        (ROOT / "docs" / target).resolve() for target, _ in LINK.findall(text_of(ROOT / "docs/README.md"))
    }
    missing = {path for path in DOCUMENTS if path.parent != ROOT / "docs/decisions"} - listed
    assert missing == {ROOT / "docs/README.md"}


def test_the_reference_has_every_word_of_the_schema():
    reference = text_of(ROOT / "docs/spec.md")
    written = set(re.findall(r"`([\w-]+)`", reference)) | set(
        re.findall(r"^## ([\w.]+)$", reference, re.MULTILINE)
    )
    assert not {word for word in words(schema()) if word not in written}


def words(document: dict) -> set[str]:
    """Keys and fixed values: those of the host as `host.KEY`, since each has a section."""
    host = document["properties"]["host"]["properties"]
    kinds = {value for key in host.values() for value in fixed(key)}
    return {f"host.{key}" for key in host} | kinds | set(fixed(document["$defs"])) | {"apiVersion"}


def fixed(part: object) -> list[str]:
    if isinstance(part, list):
        return [word for item in part for word in fixed(item)]
    if not isinstance(part, dict):
        return []
    own = [*part.get("properties", {}), *part.get("enum", [])]
    return own + [word for item in part.values() for word in fixed(item)]


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"(?:`|^)make ([a-z-]+)", text_of(document), re.MULTILINE)
    }
    assert named <= targets
    assert named


@pytest.mark.parametrize("folder", sorted(path.name for path in (ROOT / "cxlstate").glob("*/")), ids=str)
def test_the_map_of_the_code_has_every_folder(folder):
    if folder != "__pycache__":
        assert f"`cxlstate/{folder}`" in text_of(ROOT / "CONTRIBUTING.md")
        assert re.search(rf"\b{folder}\b", text_of(ROOT / "docs/architecture.md"))


@pytest.mark.parametrize(
    "folder", sorted({path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")})
)
def test_the_map_of_the_tests_has_every_folder(folder):
    assert f"`tests/{folder}" in text_of(ROOT / "CONTRIBUTING.md")


@pytest.mark.parametrize("document", [*DOCUMENTS, *PAGES], ids=lambda path: path.name)
def test_every_path_of_the_project_that_is_named_exists(document):
    own = r"`((?:cxlstate|core|engine|machine|tests|tools|specs|schemas|docs)/[\w./-]+)`"
    for name in set(re.findall(own, prose_of(document))) - {"cxlstate/v1"}:
        assert (ROOT / name).exists() or (ROOT / "cxlstate" / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_error_page_has_the_form(page):
    text = prose_of(page)
    headings = re.findall(r"^#+ .*$", text, re.MULTILINE)
    assert re.fullmatch(rf"# {page.stem}: \S.*[^.]", headings[0])
    assert headings[1:] == ["## Why", "## Example", "## What to do"]
    for part in re.split(r"^#+ .*$", text, flags=re.MULTILINE)[1:]:
        assert part.strip(), "a heading without a word"


def test_every_code_has_a_page_and_every_page_a_code():
    used = {code for path in SOURCES for code in re.findall(r'"(CX[A-Z]\d{3})"', text_of(path))}
    assert used == set(pages())


def test_only_codes_that_exist_are_named():
    named = {code for document in [*DOCUMENTS, *PAGES] for code in CODE.findall(text_of(document))}
    assert named <= set(pages())


def test_only_apply_opens_something_that_can_write():
    """Said in docs/architecture.md."""
    outside = [path for path in SOURCES if ROOT / "cxlstate/adapters" not in path.parents]
    named = {path.name for path in outside if "open_writer" in text_of(path)}
    assert named == {"converge.py"}
