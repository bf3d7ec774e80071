"""Secrets leave the partition: they are kept on the sensor, a marker takes their place.

First the secret is stored, durably and for its owner only; then the file on the
partition is replaced. A power cut in between leaves it in both places, and the next
boot goes on from there: at no time is it in neither.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from acoupi.system.files import write_durably
from acoupi.system.provisioning.document import MARKER, looks_secret, parse_toml
from acoupi.system.provisioning.positions import string_tokens
from acoupi.system.schemas import Key, dotted

__all__ = ["Vault", "find_secrets", "put_marker", "resolve_markers"]

_URL_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s:]*:[^/@\s]+@", re.IGNORECASE)
_MOST_TOKENS = 50
_MOST_SECRETS = 100


class Vault:
    """Secrets by label, in a file that only its owner reads.

    Parameters
    ----------
    path : Path
        The file; its directory must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stored: dict[str, str] = {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            self._stored = {str(name): str(text) for name, text in found.items()}
        except (OSError, ValueError, AttributeError):
            # A file that is damaged holds nothing; markers then say what is missing.
            pass

    def get(self, label: str) -> str | None:
        """Return a secret; None when there is none of that label."""
        return self._stored.get(label)

    def get_renamed(self, label: str, taken: set[str]) -> str | None:
        """Return the one secret that a place may have had under another label.

        Whoever corrects a name need not write the secret again.

        Parameters
        ----------
        label : str
            The label now.
        taken : set of str
            Labels that other places have.
        """
        kind = _kind(label)
        found = {name for name in self._stored if _kind(name) == kind} - taken
        if len(found) != 1:
            return None
        secret = self._stored[found.pop()]
        self.store({label: secret})
        return secret

    def store(self, secrets: Mapping[str, str]) -> None:
        """Keep more secrets; when this returns, they survive a power cut."""
        merged = {**self._stored, **secrets}
        if merged != self._stored:
            self._write(merged)

    def keep_only(self, labels: set[str]) -> None:
        """Forget all others."""
        kept = {name: text for name, text in self._stored.items() if name in labels}
        if kept != self._stored:
            self._write(kept)

    def _write(self, stored: dict[str, str]) -> None:
        content = json.dumps(stored, indent=2, sort_keys=True) + "\n"
        write_durably(self.path, content.encode(), 0o600)
        self._stored = stored


def find_secrets(
    data: Mapping[str, Any], keys: Sequence[str] = ()
) -> dict[Key, tuple[str, str]]:
    """Return the label and the text of each secret, by its path.

    Parameters
    ----------
    data : mapping
        What the file says.
    keys : sequence of str
        Dotted keys that are known to be secret; others are told by their name.
    """
    found: dict[Key, tuple[str, str]] = {}
    known = set(keys)
    for path, text in _texts(data, ()):
        name = next(part for part in reversed(path) if isinstance(part, str))
        secret = looks_secret(name) or _URL_PASSWORD.search(text)
        if text and text != MARKER and (secret or dotted(path) in known):
            found[path] = (_label(path, data), text)
        if len(found) >= _MOST_SECRETS:
            break
    return found


def put_marker(text: str, path: Key, secret: str) -> str | None:
    """Return a TOML text with the marker at one place; None when that fails."""
    data, _ = parse_toml(text)
    if data is None:
        return None
    wanted = copy.deepcopy(data)
    _put(wanted, path, MARKER)
    tried = 0
    for begin, end in string_tokens(text):
        value, _ = parse_toml(f"value = {text[begin:end]}\n")
        if value is None or value["value"] != secret:
            continue
        changed = f'{text[:begin]}"{MARKER}"{text[end:]}'
        if parse_toml(changed)[0] == wanted:
            return changed
        tried += 1
        if tried == _MOST_TOKENS:
            break
    return None


def resolve_markers(
    data: dict[str, Any], vault: Vault
) -> tuple[dict[str, Any], set[str], list[Key]]:
    """Put the secrets in the place of their markers.

    Returns
    -------
    data, labels, missing
        The data, the labels of the secrets it refers to, and the paths of markers for
        which there is no secret.
    """
    resolved = copy.deepcopy(data)
    places = {
        _label(path, data): path for path, text in _texts(data, ()) if text == MARKER
    }
    missing: list[Key] = []
    for label, path in places.items():
        secret = vault.get(label)
        if secret is None:
            secret = vault.get_renamed(label, set(places))
        if secret is None:
            missing.append(path)
        else:
            _put(resolved, path, secret)
    return resolved, set(places), missing


def _texts(value: Any, path: Key) -> Iterator[tuple[Key, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _texts(item, (*path, position))
    elif isinstance(value, str):
        yield path, value


def _label(path: Key, data: Any) -> str:
    """Name a place so that it stays the same when sections change their order."""
    parts: list[str] = []
    for part in path:
        here = data[part]
        parts.append(str(part))
        # Of several sections of one kind, each has a name of its own.
        name = here.get("name") if isinstance(here, Mapping) else None
        if (isinstance(part, int) or part == "wifi") and isinstance(name, str):
            if isinstance(part, int):
                parts.pop()
            parts.append(name)
        data = here
    return json.dumps(parts, ensure_ascii=False)


def _kind(label: str) -> list[str] | None:
    """Return what of a label is the same after a name was corrected."""
    try:
        parts: list[str] = json.loads(label)
    except ValueError:
        return None
    return parts[:1] if parts[0] == "wifi" else parts[:-1]


def _put(data: Any, path: Key, value: str) -> None:
    for part in path[:-1]:
        data = data[part]
    data[path[-1]] = value
