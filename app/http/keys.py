"""Who may do what: a file of salted hashes, one key a caller or several."""

import hashlib
import hmac
import logging
import math
import re
import secrets
import time
from pathlib import Path
from typing import Literal, Protocol, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

log = logging.getLogger(__name__)

Right = Literal["read", "write", "metrics"]
RIGHTS: tuple[Right, ...] = get_args(Right)
NAME = r"^[A-Za-z0-9_.-]{1,64}$"
PRESENTED = re.compile(r"leo_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")


class KeyFileError(ValueError):
    """The file of keys cannot be used."""


class Key(BaseModel):
    """What is kept of a key: not the key. It holds 256 random bits, so one round of a hash is enough."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=NAME)
    owner: str = Field(pattern=NAME, description="whose tasks it makes and sees; several keys may share one")
    id: str = Field(pattern="^[0-9a-f]{8}$", description="part of the key, to find it by")
    salt: str
    hash: str
    rights: list[Right] = Field(min_length=1)
    max_tasks: int | None = Field(None, ge=1, description="most live tasks")
    per_second: float | None = Field(None, gt=0, description="most requests a second, counted by each replica")

    def fits(self, presented: str) -> bool:
        """Whether this is the key; takes the same time whatever is presented."""
        return hmac.compare_digest(self.hash, _hash(self.salt, presented))


class KeyFile(BaseModel):
    """All keys."""

    model_config = ConfigDict(extra="forbid")
    keys: list[Key] = []


def _hash(salt: str, presented: str) -> str:
    return hashlib.sha256(f"{salt}:{presented}".encode()).hexdigest()


# Compared with where no such key is known, so that this takes as long.
NO_KEY = Key(name="none", owner="none", id="00000000", salt=secrets.token_hex(16), hash="0" * 64, rights=["read"])


def read_keys(path: Path) -> KeyFile:
    """Raises `KeyFileError` naming the file and what is wrong; a file that is not there holds no keys yet."""
    try:
        return KeyFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return KeyFile()
    except (OSError, ValidationError) as error:
        raise KeyFileError(f"cannot use the keys in {path}: {error}") from None


def write_keys(path: Path, keys: KeyFile) -> None:
    """Replace the file whole: a reader sees the old one or the new one. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    beside.write_text(keys.model_dump_json(indent=2, exclude_none=True) + "\n")
    beside.replace(path)


def new_key(
    name: str, owner: str, rights: list[Right], max_tasks: int | None = None, per_second: float | None = None
) -> tuple[Key, str]:
    """A key to keep, and what its holder presents: that is known only now. Raises `ValidationError`."""
    key_id, salt = secrets.token_hex(4), secrets.token_hex(16)
    presented = f"leo_{key_id}_{secrets.token_urlsafe(32)}"
    kept = Key(
        name=name,
        owner=owner,
        id=key_id,
        salt=salt,
        hash=_hash(salt, presented),
        rights=rights,
        max_tasks=max_tasks,
        per_second=per_second,
    )
    return kept, presented


class RateStates(Protocol):
    """A number for each key, zeros at first."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: int, /) -> float: ...
    def __setitem__(self, place: int, number: float, /) -> None: ...


class Keys:
    """The keys in a file, read again whenever it changes."""

    def __init__(self, path: Path, rate_states: RateStates) -> None:
        """`rate_states` is shared by all processes that count requests together.

        Raises `KeyFileError`, also where the file is not there or empty: nobody could come in.
        """
        self._path, self._rate_states = path, rate_states
        self._seen = self._stamp()
        self._hold(read_keys(path))
        if not self._keys:
            raise KeyFileError(f"no keys in {path}: make one with: leo keys add NAME --file {path}")

    @property
    def owners(self) -> set[str]:
        """Whose tasks there may be."""
        self._refresh()
        return {key.owner for key in self._keys.values()}

    def find(self, presented: str) -> Key | None:
        """The key that was presented, or None."""
        self._refresh()
        found = PRESENTED.fullmatch(presented)
        key = self._keys.get(found[1], NO_KEY) if found else NO_KEY
        return key if key.fits(presented) and key is not NO_KEY else None

    def seconds_to_wait(self, key: Key) -> int | None:
        """Count a request: None if the key may make it, else after how many whole seconds it may.

        A bucket that holds a second's worth and fills at the key's rate, as one number: when it will be full again.
        (The generic cell rate algorithm of ATM networks, ITU-T I.371.)
        """
        if key.per_second is None:
            return None
        place = self._places[key.id]
        now, each = time.monotonic(), 1 / key.per_second
        full = max(now, self._rate_states[place])
        too_early = full - now - (max(1.0, key.per_second) - 1) * each
        if too_early > 0:
            return math.ceil(too_early)
        self._rate_states[place] = full + each
        return None

    def _hold(self, file: KeyFile) -> None:
        self._keys = {key.id: key for key in file.keys}
        # Which of the rate states is a key's.
        self._places = {key.id: number % len(self._rate_states) for number, key in enumerate(file.keys)}

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _refresh(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        if stamp is None:
            log.error("%s is gone; the keys read last stay in force", self._path)
            return
        try:
            self._hold(read_keys(self._path))
            log.info("read %d keys from %s", len(self._keys), self._path)
        except KeyFileError as error:
            log.error("%s; the keys read last stay in force", error)
