import logging
import os

import pytest

from serving.http.auth import ApiKey, hashed
from serving.http.key_file import append_key, line, read_keys
from serving.http.key_ring import KeyRing
from serving.http.roles import Role
from tests.serving.waiting import join, wait_until

FEED = ApiKey(name="feed", role=Role.RANK, sha256=hashed("a"))
SHOP = ApiKey(name="shop", role=Role.WRITE, sha256=hashed("b"))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "keys.yaml"
    append_key(path, FEED)
    return path


@pytest.fixture
def ring(path):
    ring = KeyRing(read_keys(path), path)
    ring.look()
    return ring


def write(path, *keys):
    path.write_text("keys:\n" + "".join(f"  {line(key)}\n" for key in keys))


def test_a_key_that_is_added_is_known_and_one_that_is_taken_out_no_more(path, ring):
    assert ring() == (FEED,)
    append_key(path, SHOP)
    ring.look()
    assert ring() == (FEED, SHOP)
    write(path, SHOP)
    ring.look()
    assert ring() == (SHOP,)


def test_a_pipe_in_the_files_place_stops_neither_the_looks_nor_their_end(path, ring):
    path.unlink()
    os.mkfifo(path)
    ring.start()
    assert ring() == (FEED,)
    path.unlink()
    write(path, SHOP)
    wait_until(lambda: ring() == (SHOP,), "the new keys")
    ring.close()


def test_a_change_that_keeps_size_and_time_is_noticed(path, ring):
    before = path.stat()
    other = ApiKey(name="feed", role=Role.RANK, sha256=hashed("c"))
    write(path, other)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    ring.look()
    assert ring() == (other,)


def test_a_file_that_is_replaced_by_another_is_noticed(path, ring, tmp_path):
    other = tmp_path / "other"
    write(other, SHOP)
    other.replace(path)
    ring.look()
    assert ring() == (SHOP,)


@pytest.mark.parametrize("text", ["keys:\n", "keys: []\n"])
def test_who_takes_the_last_key_out_lets_nobody_in(path, ring, text):
    path.write_text(text)
    ring.look()
    assert ring() == ()


@pytest.mark.parametrize("text", ["keys: [", "", "keys: [{name: feed}]", "\xff"])
def test_a_file_that_does_not_parse_leaves_the_keys_and_is_complained_of_once(path, ring, caplog, text):
    caplog.set_level(logging.ERROR)
    path.write_bytes(text.encode("latin-1"))
    for _ in range(3):
        ring.look()
    assert ring() == (FEED,)
    assert caplog.text.count("the keys stay as they are") == 1
    assert str(path) in caplog.text
    write(path, SHOP)
    ring.look()
    assert ring() == (SHOP,)


def test_a_file_that_is_away_leaves_the_keys_and_is_read_when_it_is_back(path, ring, caplog):
    content = path.read_text()
    path.unlink()
    for _ in range(3):
        ring.look()
    assert ring() == (FEED,)
    assert caplog.text.count("No such file or directory; the keys stay as they are") == 1
    path.write_text(content.replace("feed", "food"))
    ring.look()
    assert [key.name for key in ring()] == ["food"]


def test_the_log_says_whose_keys_came_and_went_and_shows_none(path, ring, caplog):
    caplog.set_level(logging.INFO)
    write(path, SHOP)
    ring.look()
    assert "1 keys; new: shop; gone: feed" in caplog.text
    assert SHOP.sha256 not in caplog.text


def test_it_looks_by_itself_until_it_is_closed(path):
    ring = KeyRing(read_keys(path), path)
    ring.start()
    write(path, SHOP)
    wait_until(lambda: ring() == (SHOP,), "the new key to be known")
    ring.close()
    join(ring._thread)
    write(path, FEED)
    assert ring() == (SHOP,)


def test_who_asks_has_the_file_read_again_and_is_told_so(path, ring, caplog):
    caplog.set_level(logging.INFO)
    ring.start()
    ring.read_again()
    wait_until(lambda: "1 keys; new: none; gone: none" in caplog.text, "the file to be read")
    ring.close()


def test_keys_without_a_file_stay():
    ring = KeyRing([FEED], None)
    ring.start()
    ring.look()
    ring.close()
    assert ring() == (FEED,)
