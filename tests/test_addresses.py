"""Printed addresses never show a user, a password, or a token behind the question mark."""

from __future__ import annotations

import pytest

from gmcn.addresses import plain
from gmcn.errors import InputError, brief
from gmcn.tracking.records import flatten


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://anna:s3cret@127.0.0.1:5000/api", "http://127.0.0.1:5000/api"),
        ("https://anna@host", "https://host"),
        ("https://:s3cret@host/x.zip", "https://host/x.zip"),
        ("http://anna:s3/cr@et@host/x", "http://host/x"),
        ("http://anna:p'(s3cret)@host/x", "http://host/x"),
        ("postgresql+psycopg2://anna:s3cret@db:5432/mlflow", "postgresql+psycopg2://db:5432/mlflow"),
        ("https://host/x.zip?token=s3cret&id=1", "https://host/x.zip?..."),
        ("https://host/x.zip?s3cret", "https://host/x.zip?..."),
        ("https://host/x.zip#access=s3cret", "https://host/x.zip?..."),
        ("https://anna:s3cret@host?token=s3cret.", "https://host?...."),
        ("(tried https://a:s3cret@h/x?t=s3cret; https://b@g/y)", "(tried https://h/x?...; https://g/y)"),
        ("failed with url: /x?token=s3cret (Caused by it)", "failed with url: /x?... (Caused by it)"),
        ('{"url": "https://a:s3cret@h/x?t=1", "path": "why?a=b"}', '{"url": "https://h/x?...", "path": "why?a=b"}'),
    ],
)
def test_secrets_are_left_out(address, shown):
    assert plain(address) == shown
    assert plain(shown) == shown
    assert brief(OSError(address)) == shown
    assert str(InputError(address)) == shown
    assert flatten({"a": {"b": address}}) == {"a.b": shown}


@pytest.mark.parametrize(
    "text",
    [
        "https://cdn.example.org/npm/package@1.2/file.js",
        "http://127.0.0.1:5000/",
        "file:///home/anna@work/a b",
        "unknown variant 'smal'; did you mean 'small'? (known: a=b)",
        "/data/why?a=b/x.off is empty; write to anna@example.org",
        "sqlite:////home/anna/mlflow.db",
    ],
)
def test_everything_else_stays(text):
    assert plain(text) == text


@pytest.mark.parametrize(
    "name", ["MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_URI", "GMCN_MIRROR"]
)
def test_the_environments_passwords_are_left_out_wherever_they_stand(monkeypatch, name):
    address = name in ("MLFLOW_TRACKING_URI", "GMCN_MIRROR")
    monkeypatch.setenv(name, "https://anna:s3%2Fcret@host" if address else "s3/cret\n")
    assert plain("no header value: 'Basic s3/cret'") == "no header value: 'Basic ...'"
    monkeypatch.setenv(name, "https://anna:a@host" if address else "a")
    assert plain("a word") == "a word"
