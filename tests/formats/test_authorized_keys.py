"""Keys of authorized_keys(5): told apart by what they are, not by what stands around them."""

from __future__ import annotations

import subprocess

import pytest

from cxlstate.formats.authorized_keys import missing, parse, with_keys


@pytest.fixture(scope="module", params=["ed25519", "ecdsa", "rsa"])
def key(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", request.param, "-N", "", "-C", "bob at lab", "-f", path], check=True
    )
    return path.with_suffix(".pub").read_text().strip()


def test_a_key_is_read_as_ssh_keygen_reads_it(key, tmp_path):
    (tmp_path / "key.pub").write_text(f"{key}\n")
    shown = subprocess.run(
        ["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True
    )
    assert parse(key).fingerprint == shown.stdout.split()[1]
    assert parse(key).comment == "bob at lab"


@pytest.mark.parametrize(
    "options", ["no-pty", 'command="echo \\"ssh-ed25519 AAAA\\" x",no-pty', 'from="10.*, !10.1"']
)
def test_options_before_it_do_not_hide_it(key, options):
    found = parse(f"{options} {key}")
    assert (found.options, found.same(parse(key))) == (options, True)


@pytest.mark.parametrize(
    "line", ["", "# comment", "ssh-ed25519", "ssh-ed25519 ####", "ssh-ed25519 AAAA", "word"]
)
def test_what_is_no_key_is_none(line):
    assert parse(line) is None


def test_a_key_within_a_comment_is_none(key):
    assert parse(f"# {key}") is None


@pytest.mark.parametrize("before", ["", "# mine\n\n", "garbage without an end", "\tx\r\n\n"])
def test_a_key_is_added_and_the_rest_stays(key, before):
    after = with_keys(before, [key])
    assert after.startswith(before)
    assert missing(after, [key]) == []
    assert with_keys(after, [key]) == after


def test_a_line_with_other_options_is_replaced_where_it_is(key):
    before = f'# a\n  command="false" {key}\n# b'
    assert with_keys(before, [key]) == f"# a\n{key}\n# b"


def test_the_first_line_of_a_key_counts(key):
    """What cloud-init put there for root refuses, whatever stands below."""
    refusing = f'command="echo no" {key}'
    text = f"{refusing}\n{key}\n"
    assert [index for index, _, _ in missing(text, [key])] == [0]
    after = with_keys(text, [key])
    assert refusing not in after
    assert missing(after, [key]) == []


def test_a_line_for_other_addresses_is_passed_over(key):
    assert missing(f'from="10.0.0.0/8",no-pty {key}\n{key}\n', [key]) == []


def test_one_key_may_be_wanted_twice(key):
    wanted = [f"no-pty {key}", key]
    after = with_keys(f'command="x" {key}\n', wanted)
    assert missing(after, wanted) == []
    assert with_keys(after, wanted) == after


def test_an_option_of_many_quotes_without_a_key_takes_no_time():
    """As of a line that an editor has wrapped."""
    assert parse('command="' + 'echo \\"x\\"; ' * 10_000) is None
    assert parse('command="echo \\"x\\"" ssh-ed25519 AAAA') is None
