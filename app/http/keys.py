"""API keys: a file of salted hashes, with each key's owner, rights and limits."""

import contextlib
import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.http.rates import Rates
from app.problems import describe_validation_errors
from model.regular_files import read_regular

log = logging.getLogger(__name__)

Right = Literal["read", "write", "metrics"]
RIGHTS: tuple[Right, ...] = get_args(Right)
NAME_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"
LEAST_PER_SECOND, MOST_PER_SECOND = 1e-5, 1e6  # one a day; more is no limit. Both fit into the RateLimit headers
MOST_BYTES = 2**25  # of a key file: a hundred thousand keys
KEY_FORMAT = re.compile(r"leo_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")


class KeyFileError(ValueError):
    """The key file cannot be used; the message says why and how to fix it."""


class Key(BaseModel):
    """A key as stored: its hash, never the key itself. One round of a hash is enough, as a key has 256 random bits."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=NAME_PATTERN)
    owner: str = Field(pattern=NAME_PATTERN, description="owner of the tasks made with it; several keys may share one")
    id: str = Field(pattern="^[0-9a-f]{8}$", description="part of the key itself, to look it up by")
    salt: str = Field(pattern="^[0-9A-Za-z_-]*$")
    hash: str = Field(pattern="^[0-9a-f]{64}$")
    rights: list[Right] = Field(min_length=1)
    max_tasks: int | None = Field(None, ge=1, strict=True, description="most live tasks")
    per_second: float | None = Field(
        None,
        ge=LEAST_PER_SECOND,
        le=MOST_PER_SECOND,
        strict=True,
        allow_inf_nan=False,
        description="most requests a second, counted by each replica",
    )

    def matches(self, presented: str) -> bool:
        """Whether `presented` is this key. Takes the same time for every string."""
        return hmac.compare_digest(self.hash, _hash(self.salt, presented))


class KeyFile(BaseModel):
    """The content of a key file. No two keys share a name or an id: one of them would be ignored."""

    model_config = ConfigDict(extra="forbid")
    keys: list[Key]

    @model_validator(mode="after")
    def _check_unique(self) -> "KeyFile":
        for member in ("name", "id"):
            (most, times), *_ = Counter(getattr(key, member) for key in self.keys).most_common(1) or [("", 0)]
            if times > 1:
                raise ValueError(f"{times} keys have the {member} {most}: remove all but one of them")
        return self


def _hash(salt: str, presented: str) -> str:
    return hashlib.sha256(f"{salt}:{presented}".encode()).hexdigest()


# Compared with when a key's id is unknown, so that the time taken does not tell which ids exist.
DUMMY_KEY = Key(name="none", owner="none", id="00000000", salt=secrets.token_hex(16), hash="0" * 64, rights=["read"])


def read_keys(path: Path) -> KeyFile:
    """Read a key file; one that does not exist holds no keys. Raises `KeyFileError` with the file and the reason."""
    try:
        return KeyFile.model_validate_json(read_regular(path, MOST_BYTES))
    except FileNotFoundError:
        return KeyFile(keys=[])
    except OSError as error:
        raise KeyFileError(f"cannot use the keys in {path}: {error.strerror or error}") from None
    except ValidationError as error:
        raise KeyFileError(f"cannot use the keys in {path}: {_without_content(error)}") from None


def _without_content(error: ValidationError) -> str:
    """What is wrong and where, for the log: no value of the file, nor a name that may be a key in the wrong place."""
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    for each in errors:
        if each["type"] == "extra_forbidden":
            each["loc"] = (*each["loc"][:-1], "(unknown member)")
    return describe_validation_errors(errors)


def write_keys(path: Path, keys: KeyFile) -> None:
    """Replace a key file atomically: a reader sees either the old or the new one. Raises `OSError`.

    The file keeps its owner and its permissions, and a link to it stays a link.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("w") as file:
            file.write(keys.model_dump_json(indent=2, exclude_none=True) + "\n")
            file.flush()
            if path.exists():
                former = path.stat()
                os.fchmod(file.fileno(), stat.S_IMODE(former.st_mode))
                with contextlib.suppress(PermissionError):  # only root may change the owner of a file
                    os.fchown(file.fileno(), former.st_uid, former.st_gid)
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def changing_keys(path: Path) -> Iterator[None]:
    """Keep other commands from changing a key file between reading and writing it. Raises `OSError`."""
    folder = path.resolve().parent
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def new_key(
    name: str, owner: str, rights: list[Right], max_tasks: int | None = None, per_second: float | None = None
) -> tuple[Key, str]:
    """Make a key. Returns what to store and the key itself, which cannot be recovered later.

    Raises `ValidationError` for a bad name, owner, right or limit.
    """
    key_id, salt = secrets.token_hex(4), secrets.token_hex(16)
    presented = f"leo_{key_id}_{secrets.token_urlsafe(32)}"
    stored = Key(
        name=name,
        owner=owner,
        id=key_id,
        salt=salt,
        hash=_hash(salt, presented),
        rights=rights,
        max_tasks=max_tasks,
        per_second=per_second,
    )
    return stored, presented


class Keys:
    """The keys in a file, which is read again whenever it changes."""

    def __init__(self, path: Path, rates: Rates) -> None:
        """Read the file. `rates` is shared by all workers, so that they count requests together.

        Raises `KeyFileError`, also for a missing or empty file, since then no request could be allowed.
        """
        self._path, self._rates = path, rates
        self._loaded_version = self._file_version()
        self._load(read_keys(path))
        if not self._keys:
            raise KeyFileError(f"no keys in {path}: make one with: leo keys add NAME --file {path}")

    @property
    def owners(self) -> set[str]:
        """The owners of all keys."""
        self._refresh()
        return {key.owner for key in self._keys.values()}

    def find(self, presented: str) -> Key | None:
        """The stored key that matches, or None."""
        self._refresh()
        parts = KEY_FORMAT.fullmatch(presented)
        key = self._keys.get(parts[1], DUMMY_KEY) if parts else DUMMY_KEY
        return key if key.matches(presented) and key is not DUMMY_KEY else None

    def seconds_to_wait(self, key: Key) -> int | None:
        """Count a request: None if the rate limit allows it, else the seconds to wait, rounded up."""
        return None if key.per_second is None else self._rates.seconds_to_wait(int(key.id, 16), key.per_second)

    def left(self, key: Key) -> tuple[int, int]:
        """Requests that a key with a rate limit may make now, and seconds until it may make all of them again."""
        if key.per_second is None:
            raise ValueError(f"key {key.name} has no rate limit")
        return self._rates.left(int(key.id, 16), key.per_second)

    def _load(self, file: KeyFile) -> None:
        self._keys = {key.id: key for key in file.keys}

    def _file_version(self) -> tuple[int, ...] | None:
        """Numbers that change with the file; None if there is no file."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        # Tools that copy files set the modification time, but cannot set the time of the inode's last change.
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino

    def _refresh(self) -> None:
        version = self._file_version()
        if version == self._loaded_version:
            return
        self._loaded_version = version
        if version is None:
            log.error("%s is gone; the keys read last stay in force", self._path)
            return
        try:
            self._load(read_keys(self._path))
            log.log(
                logging.INFO if self._keys else logging.WARNING, "read %d keys from %s", len(self._keys), self._path
            )
        except KeyFileError as error:
            log.error("%s; the keys read last stay in force", error)
