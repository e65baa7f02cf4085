import json
import logging
import sys

import pytest

from serving.logs import TEXT, JsonFormatter, LogFormat, add_trace, configure_logging, request_fields


def record(message="%s is here", *arguments, **changes):
    made = logging.LogRecord("a.b", logging.WARNING, "file.py", 3, message, arguments, None)
    vars(made).update(changes)
    return made


@pytest.fixture
def request_of():
    token = request_fields.set({"request_id": "r1", "trace_id": "t1"})
    yield
    request_fields.reset(token)


def test_a_json_line_is_one_object_whatever_is_logged():
    formatted = JsonFormatter().format(record("%s", 'two\nlines "and" ü', fields={"took_ms": 1.5}))
    assert "\n" not in formatted
    line = json.loads(formatted)
    assert line.keys() == {"time", "level", "logger", "message", "took_ms"}
    assert (line["level"], line["logger"], line["message"]) == ("WARNING", "a.b", 'two\nlines "and" ü')
    assert line["time"].endswith("+00:00")


def test_a_json_line_has_the_stack_of_an_error():
    try:
        raise ValueError("wrong")
    except ValueError:
        formatted = JsonFormatter().format(record("oh", exc_info=sys.exc_info()))
    assert "ValueError: wrong" in json.loads(formatted)["exception"]


@pytest.mark.usefixtures("request_of")
def test_a_json_line_of_a_request_has_its_ids():
    line = json.loads(JsonFormatter().format(record("oh")))
    assert (line["request_id"], line["trace_id"]) == ("r1", "t1")


def text(made):
    add_trace(made)
    return logging.Formatter(TEXT).format(made)


def test_a_line_of_text_is_as_it_was_without_a_trace():
    assert text(record("oh")).endswith(" WARNING a.b: oh")


@pytest.mark.usefixtures("request_of")
def test_a_line_of_text_ends_with_the_trace():
    assert text(record("oh")).endswith(" WARNING a.b: oh trace_id=t1")


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_the_log_goes_to_standard_error_in_the_format_that_is_asked_for(log_format, monkeypatch, capsys):
    root = logging.Logger("root")
    monkeypatch.setattr(logging, "root", root)
    monkeypatch.setattr(logging.Logger, "root", root)
    configure_logging(log_format)
    root.info("begun")
    written = capsys.readouterr().err
    assert "begun" in written
    assert written.startswith("{") == (log_format is LogFormat.JSON)
