import pytest
from pydantic import ValidationError

from serving.http.auth import ApiKey
from serving.http.roles import Role
from serving.settings import ServingSettings

KEY = ApiKey(name="feed", role=Role.RANK, sha256="a" * 64)


def test_every_setting_says_what_it_is_for():
    assert all(field.description for field in ServingSettings.model_fields.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"max_waitng": 1},
        {"max_waiting_candidates": 0},
        {"body_timeout_s": 0},
        {"shutdown_timeout_s": -1},
        {"model_threads": 0},
        {"catalogue_mb": 0},
        {"max_events": 0},
        {"impressions": "perhaps"},
        {"impressions_seen": "both"},
        {"at_max_events": "wait"},
        {"api_keys": [{"name": "feed", "role": "rank", "sha256": "secret"}]},
    ],
    ids=str,
)
def test_an_unknown_or_impossible_setting_is_refused(changes):
    with pytest.raises(ValidationError):
        ServingSettings(registry="r", redis_url="u", **changes)


def test_settings_do_not_show_what_is_secret_in_them():
    shown = repr(ServingSettings(registry="r", redis_url="redis://:password@host", api_keys=[KEY]))
    assert "password" not in shown
    assert KEY.sha256 not in shown


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        ServingSettings(registry="r", redis_url="u").max_body_bytes = 1
