"""Addresses without what only their owner may know: user, password, and what stands behind the question mark."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

# Up to the last @ where a password has a slash that should have been written %2F: what follows the colon is no port.
_USER = re.compile(r"""(?<=://)(?:[^\s/?#"<>]*@|[^\s/?#@:"<>]*:(?!\d*(?:[/?#\s'"]|$))[^\s"<>]*@)""")
# Also of what urllib3 calls "url": the path alone. What ends a sentence around an address is no part of it.
_QUERY = re.compile(r"""((?:://|\burl: )[^\s?#"'<>]*)[?#][^\s"'<>]*[^\s"'<>).,;:]""")
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_NAMED = ("MLFLOW_TRACKING_URI", "GMCN_MIRROR")
# Whose value is JSON: data sets' addresses by <data set>/<file>, where the command line has them without passwords.
ADDRESSES = "GMCN_ADDRESSES"
_SHORTEST = 4  # of a secret that is removed outside of addresses too: a shorter one would be found in every word


def plain(text: object) -> str:
    """A text, also a whole sentence of another library, with every address in it as one may pass it on.

    ``http://anna:secret@host/x?token=1`` becomes ``http://host/x?...``. The environment's own passwords are left out
    wherever they stand.
    """
    shown = _QUERY.sub(r"\1?...", _USER.sub("", str(text)))
    for secret in _secrets():
        shown = shown.replace(secret, "...")
    return shown


def _secrets() -> set[str]:
    found = {os.environ.get(name, "").strip() for name in _SECRETS}
    for name in _NAMED:
        if user := _USER.search(os.environ.get(name, "")):
            found.add(user[0].removesuffix("@").partition(":")[2])
    found |= {unquote(secret) for secret in found}
    return {secret for secret in found if len(secret) >= _SHORTEST}
