"""SIGHUP: read the API keys again. A service without a file of keys ends with it, as other programs do."""

import signal

from fastapi import FastAPI


def ignore_hangup() -> None:
    """Let SIGHUP do nothing until `read_keys_on_hangup`: the keys are read at the start anyway."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def read_keys_on_hangup(app: FastAPI) -> None:
    """Let SIGHUP read the file of keys again, if the service has one."""
    if app.state.settings.api_keys_file is not None:
        signal.signal(signal.SIGHUP, lambda *_: app.state.keys.read_again())
