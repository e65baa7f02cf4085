import pytest

from ranker.files.secrets import censored, shown

SECRETS = {
    "s3://key:hunter2@bucket/x": "s3://bucket/x",
    "s3://key:hunter2/rest@bucket/x": "s3://bucket/x",
    "s3://key:hunter2#rest@bucket/x": "s3://bucket/x",
    "s3://key:hunter2?rest@bucket/x": "s3://bucket/x",
    "s3://bucket/x?token=hunter2": "s3://bucket/x",
    "s3://bucket/x#token=hunter2": "s3://bucket/x",
    "https://host/x.parquet?hunter2": "https://host/x.parquet",
    "https://hunter2@host/x": "https://host/x",
    "simplecache::s3://key:hunter2@bucket/x": "simplecache::s3://bucket/x",
}
PLAIN = [
    "log/a@b.parquet",
    "~/a:b@c",
    "file:///days/part-?.parquet",
    "s3://bucket/part-?.parquet",
    "s3://bucket/model@v2/x",
    "s3://host:9000/model@v2",
    "memory://x",
    "",
]


@pytest.mark.parametrize(("url", "expected"), SECRETS.items())
def test_secrets_of_a_url_are_not_shown(url: str, expected: str) -> None:
    assert shown(url) == expected
    assert shown(shown(url)) == expected


@pytest.mark.parametrize("url", PLAIN)
def test_what_has_no_secret_is_shown_as_it_is(url: str) -> None:
    assert shown(url) == url
    assert censored(f"found {url} and hunter2", [url]) == f"found {url} and hunter2"


@pytest.mark.parametrize("url", SECRETS)
def test_a_message_is_censored_whether_it_quotes_the_url_or_a_part(url: str) -> None:
    message = f"cannot read {url}: hunter2 is refused"
    assert "hunter2" not in censored(message, ["train", url])


def test_a_password_is_censored_as_it_is_written_and_decoded() -> None:
    url = "s3://key:hunter%2F2@bucket/x"
    assert censored("with hunter%2F2 or hunter/2", [url]) == "with *** or ***"


def test_words_that_only_contain_a_secret_stay() -> None:
    assert censored("red is not --redis-url", ["redis://host?colour=red"]) == "*** is not --redis-url"
