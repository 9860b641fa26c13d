"""The device profile: what `tune` measured for a bundle on this machine, and whether it still fits.

A profile is a JSON file outside of the bundle, since a bundle may be read-only and shared by many machines. It only
ever chooses among what the bundle has: a hostile one can make an engine slow, never wrong.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgeplm_runtime.bundle.reader import Bundle
from edgeplm_runtime.distributions import deciding_distributions
from edgeplm_runtime.errors import BadInput, CannotWrite
from edgeplm_runtime.machine import describe
from edgeplm_runtime.places import place_problem, write_whole


FORMAT = 1
LIMIT_BYTES = 2**20  # a profile has a few KB
AUTO, OFF = "auto", "off"
NEVER = "none: `edgeplm tune` was not run here"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen when a bundle is loaded. `lanes`: graph calls side by side in long lists, the threads divided
    among them. `token_budget`: rows × padded length of one batch. `spinning` and `arena`: as load() takes them.
    """

    variant: str
    provider: str
    threads: int
    lanes: int
    token_budget: int
    spinning: bool = True
    arena: bool = True

    @property
    def words(self) -> str:
        """The choice in a line, for tables and notes."""
        less = [name for name, kept in (("spinning", self.spinning), ("arena", self.arena)) if not kept]
        return (
            f"{self.variant} on {self.provider}, threads {self.threads}, lanes {self.lanes}, batches of "
            f"{self.token_budget} tokens" + "".join(f", no {name}" for name in less)
        )


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A choice and its time of one call in milliseconds: the median, the 90th percentile, the count of samples.

    `round` is the last round of the race that it took part in, from 1 on.
    """

    choice: Choice
    median_ms: float
    p90_ms: float
    samples: int
    round: int


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What a profile holds for; if any of it differs, the figures may be others."""

    bundle: str
    cpu: str
    isa: tuple[str, ...]
    cores: int
    versions: tuple[str, ...]


class DeviceProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The file. `ranked` starts with the winner; `workload` and `why` are sentences; `made` is an ISO 8601 time, UTC.

    `batch` is the number of texts of the measured calls: with a latency budget, the largest that holds it.
    """

    format: int
    key: Key
    made: str
    workload: str
    why: str
    batch: int
    ranked: tuple[Measured, ...]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The profile that fits, or None; `words` say which it is, or why there is none."""

    profile: DeviceProfile | None
    words: str


def key_of(bundle: Bundle) -> Key:
    """What a profile of this bundle, made here and now, holds for."""
    machine = describe()
    return Key(
        bundle=bundle.manifest.manifest_sha256,
        cpu=machine.cpu,
        isa=machine.isa,
        cores=machine.cores_usable,
        versions=tuple(deciding_distributions()),
    )


def profile_path(key: Key) -> Path | None:
    """Where the profile with this key is kept; None where there is no place: no home, no EDGEPLM_PROFILES."""
    folder = _folder()
    if folder is None:
        return None
    rest = hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(key, bundle=""))).hexdigest()
    return folder / f"{key.bundle[:32]}-{rest[:16]}.json"


def find_profile(bundle: Bundle, wanted: str = AUTO) -> Found:
    """The profile to load `bundle` by. `wanted`: "auto", "off", or the path of a file, which must then fit.

    Raises BadInput for a file asked for by path that cannot be read or holds for something else.
    """
    if wanted == OFF:
        return Found(profile=None, words="not asked for")
    folder = _folder()
    if wanted == AUTO and folder is not None and not os.path.lexists(folder):
        return Found(profile=None, words=NEVER)  # most starts: what the key costs is saved
    key = key_of(bundle)
    if wanted != AUTO:
        try:
            profile = read_profile(Path(wanted))
        except FileNotFoundError:
            raise BadInput(f"{wanted} does not exist. Give a profile that `edgeplm tune --out` wrote.") from None
        if differs := _differences(profile.key, key):
            raise BadInput(f"{wanted} was measured for something else: {'; '.join(differs)}. Run: edgeplm tune")
        return Found(profile=profile, words=f"{wanted}, measured {profile.made}")
    path = profile_path(key)
    if path is None:
        return Found(profile=None, words="none: there is no folder for profiles (no home, EDGEPLM_PROFILES not set)")
    try:
        profile = read_profile(path)
    except FileNotFoundError:
        return Found(profile=None, words=_why_none(path, key))
    except BadInput as error:  # nobody asked for it by name: it is only not used
        return Found(profile=None, words=f"none: {error}")
    if differs := _differences(profile.key, key):
        return Found(profile=None, words=f"none that fits: {'; '.join(differs)}")
    return Found(profile=profile, words=f"measured {profile.made}")


def read_profile(path: Path) -> DeviceProfile:
    """The profile in a file. Raises FileNotFoundError only where there is none, and BadInput for all else."""
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}. Run: edgeplm tune") from None
    try:
        if len(data) > LIMIT_BYTES:
            raise msgspec.ValidationError(f"it is larger than {LIMIT_BYTES} bytes")
        version = msgspec.json.decode(data, type=_Versioned).format
        if version != FORMAT:
            raise BadInput(f"{path} has the format {version}; this EdgePLM reads {FORMAT}. Run: edgeplm tune")
        profile = msgspec.json.decode(data, type=DeviceProfile)
        if not profile.ranked:
            raise msgspec.ValidationError("it ranks nothing")
    except msgspec.DecodeError as error:  # ValidationError, too
        raise BadInput(f"{path} is not a device profile: {str(error)[:200]}. Run: edgeplm tune") from None
    return profile


def write_profile(path: Path, profile: DeviceProfile) -> None:
    """Write the file whole or not at all. Raises CannotWrite."""
    data = msgspec.json.format(msgspec.json.encode(profile), indent=1) + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise _cannot_write(path, error.strerror or str(error)) from None


def check_place(path: Path) -> None:
    """Raise CannotWrite, before anything is measured, where the profile could not be written."""
    if problem := place_problem(path):
        raise _cannot_write(path, problem)


def _cannot_write(path: Path, why: str) -> CannotWrite:
    return CannotWrite(f"{path} cannot be written: {why}. Give another place with --out, or set EDGEPLM_PROFILES.")


def fitting(profile: DeviceProfile, **pinned: Any) -> Iterator[Choice]:
    """The measured choices that agree with everything that is pinned (None: open), fastest first."""
    for measured in profile.ranked:
        if all(value is None or getattr(measured.choice, name) == value for name, value in pinned.items()):
            yield measured.choice


class _Versioned(msgspec.Struct):
    format: int


def _folder() -> Path | None:
    if named := os.environ.get("EDGEPLM_PROFILES"):
        return Path(named)
    if state := os.environ.get("XDG_STATE_HOME"):
        return Path(state) / "edgeplm" / "profiles"
    try:
        return Path.home() / ".local" / "state" / "edgeplm" / "profiles"
    except RuntimeError:  # no HOME and no entry for this user
        return None


def _differences(made: Key, here: Key) -> list[str]:
    """What differs, in words: what it was made for, and what is here."""
    found = []
    if made.bundle != here.bundle:
        found.append("the bundle is another one, or was changed")
    for name, title in (("cpu", "CPU"), ("cores", "usable cores")):
        if getattr(made, name) != getattr(here, name):
            found.append(f"{title} {getattr(made, name)} then, {getattr(here, name)} here")
    for title, then, now in (("instructions", made.isa, here.isa), ("packages", made.versions, here.versions)):
        gone, new = sorted(set(then) - set(now)), sorted(set(now) - set(then))
        if gone or new:
            found.append(f"{title}: {', '.join(gone) or 'none'} then, {', '.join(new) or 'none'} instead here")
    return found


def _why_none(path: Path, key: Key) -> str:
    """Why there is no profile of this name: never made, or made under another key."""
    try:
        others = sorted(path.parent.glob(f"{key.bundle[:32]}-*.json"))
        for other in others:
            return f"none that fits: {'; '.join(_differences(read_profile(other).key, key))}"
    except (OSError, BadInput):
        pass
    return NEVER
