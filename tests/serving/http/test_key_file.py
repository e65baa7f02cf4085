import errno
import os
import stat
import subprocess
import sys

import pytest

from ranker.errors import LockedError, UserError
from ranker.files.lock import locked
from serving.http.auth import ApiKey, hashed
from serving.http.key_file import append_key, read_keys
from serving.http.roles import Role

FEED = ApiKey(name="feed", role=Role.RANK, sha256=hashed("a"))
JOB = ApiKey(name="nightly-job", role=Role.WRITE, sha256=hashed("b"))


def test_keys_are_read_back_as_they_were_added(tmp_path):
    path = tmp_path / "keys.yaml"
    append_key(path, FEED)
    append_key(path, JOB)
    assert read_keys(path) == (FEED, JOB)


def test_a_new_file_is_for_its_owner_alone(tmp_path):
    append_key(tmp_path / "keys.yaml", FEED)
    assert stat.S_IMODE((tmp_path / "keys.yaml").stat().st_mode) == 0o600


def test_comments_stay_when_a_key_is_added(tmp_path):
    path = tmp_path / "keys.yaml"
    append_key(path, FEED)
    path.write_text("# ours\n" + path.read_text() + "  # the night\n")
    append_key(path, JOB)
    assert path.read_text().startswith("# ours\n")
    assert "# the night" in path.read_text()
    assert read_keys(path) == (FEED, JOB)


@pytest.mark.parametrize(
    "text",
    ["keys: [{{name: feed, role: rank, sha256: {0}}}]", "keys:\n- name: feed\n  role: rank\n  sha256: {0}\n"],
)
def test_a_file_in_another_form_is_left_as_it_is(tmp_path, text):
    path = tmp_path / "keys.yaml"
    path.write_text(text.format(FEED.sha256))
    before = path.read_text()
    with pytest.raises(UserError, match="add this one by hand"):
        append_key(path, JOB)
    assert path.read_text() == before


def test_a_name_is_given_once(tmp_path):
    append_key(tmp_path / "keys.yaml", FEED)
    with pytest.raises(UserError, match="found a key 'feed'"):
        append_key(tmp_path / "keys.yaml", JOB.model_copy(update={"name": "feed"}))


HASH = "5" * 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the document: expected an object"),
        ("keys: 1", "keys: expected a list"),
        ("keys:\n  - {name: a", "found a mistake in line"),
        (
            f"keys: [{{name: a, role: boss, sha256: '{HASH}'}}]",
            "keys.0.role: expected 'rank', 'write' or 'admin'",
        ),
        (f"keys: [{{name: a b, role: rank, sha256: '{HASH}'}}]", "keys.0.name: expected 1 to 64 letters"),
        (f"keys: [{{role: rank, sha256: '{HASH}'}}]", "keys.0.name: expected this field, found none"),
        (f"keys: [{{name: a, role: rank, sha256: '{HASH}', key: x}}]", "keys.0.key: unknown field"),
        ("keys: [{name: a, role: rank, sha256: wn_secret}]", "keys.0.sha256: expected the key's SHA-256"),
        (f"keys: [{{name: a, role: rank, sha256: {HASH}}}]", "keys.0.sha256: expected text"),
        (
            "keys: ["
            + ", ".join(f"{{name: {name}, role: rank, sha256: a{HASH[1:]}}}" for name in "ab")
            + "]",
            "keys.1.sha256: expected each sha256 once, found that of keys.0 again",
        ),
        ("!!python/object:os.system {}", "expected YAML"),
        ("- [" * 2000, "expected YAML"),
    ],
)
def test_a_mistake_is_named_by_file_and_place_and_not_quoted(tmp_path, text, message):
    path = tmp_path / "keys.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_keys(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "wn_secret" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_a_users_error(tmp_path):
    with pytest.raises(UserError, match="expected a file of API keys, found: No such file"):
        read_keys(tmp_path / "none.yaml")
    (tmp_path / "keys.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="expected UTF-8"):
        read_keys(tmp_path / "keys.yaml")


def test_a_hash_of_digits_alone_is_written_so_that_it_is_read_as_text(tmp_path):
    digits = ApiKey(name="digits", role=Role.RANK, sha256="1" * 64)
    append_key(tmp_path / "keys.yaml", digits)
    assert read_keys(tmp_path / "keys.yaml") == (digits,)


def test_a_full_disk_leaves_the_keys_as_they_were(tmp_path, monkeypatch):
    path = tmp_path / "keys.yaml"
    append_key(path, FEED)
    before = path.read_text()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=rf"^{path}: .*found: No space left on device"):
        append_key(path, JOB)

    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


ADDS = """
import sys
from pathlib import Path
from serving.http.auth import ApiKey, hashed
from serving.http.key_file import append_key
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    name = f"{sys.argv[2]}{number}"
    append_key(Path(sys.argv[1]), ApiKey(name=name, role="rank", sha256=hashed(name)))
"""


def test_two_processes_that_add_keys_at_once_both_do(tmp_path):
    path = tmp_path / "keys.yaml"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    both = [subprocess.Popen([sys.executable, "-c", ADDS, path, name], text=True, **pipes) for name in "ab"]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert {key.name for key in read_keys(path)} == {f"{name}{n}" for name in "ab" for n in range(20)}
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_file_that_another_process_keeps_busy_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("serving.http.key_file.LOCK_WAIT_S", 0.0)
    path = tmp_path / "keys.yaml"
    with (
        locked(tmp_path / ".keys.yaml.lock", str(path)),
        pytest.raises(LockedError, match=f"^{path}: process"),
    ):
        append_key(path, FEED)


def test_a_list_without_keys_is_read_and_another_key_is_a_mistake(tmp_path):
    path = tmp_path / "keys.yaml"
    path.write_text("keys: []\n")
    assert read_keys(path) == ()
    path.write_text("key: []\n")
    with pytest.raises(UserError, match="keys"):
        read_keys(path)
