"""The arguments of load(): checked, and kept so that a copy or a forked child opens the same engine again."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec
from msgspec.structs import force_setattr

from edgeplm_runtime.arguments import check_whole, is_duration
from edgeplm_runtime.errors import BadInput, BadInputType


MAX_THREADS = 1024


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of load(), each one that it can take; `path` becomes absolute. Raises BadInput."""

    path: str | os.PathLike[str]
    variant: str
    provider: str
    threads: int | None
    allow_fallback: bool
    check_hashes: bool
    prepack: bool
    token_budget: int | None
    stable: bool
    lanes: int | None
    share_threads: bool
    spinning: bool | None
    arena: bool | None
    memory_limit_bytes: int | None
    timeout_s: float | None
    profile: str
    provider_options: Mapping[str, object] = {}
    cache_dir: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.threads is not None:
            check_whole("threads", self.threads, MAX_THREADS)
        if self.lanes is not None:
            check_whole("lanes", self.lanes, MAX_THREADS)
        if self.memory_limit_bytes is not None:
            check_whole("memory_limit_bytes", self.memory_limit_bytes, 2**62)
        if self.token_budget is not None:
            check_whole("token_budget", self.token_budget, 2**62)
        timeout = self.timeout_s
        if timeout is not None and (not is_duration(timeout) or timeout == 0):
            raise BadInput(f"timeout_s is {timeout!r}; give seconds above 0, or None for no limit.")
        for name, switch in (("stable", self.stable), ("share_threads", self.share_threads)):
            if not isinstance(switch, bool):
                raise BadInputType(f"{name} is {switch!r}; expected True or False.")
        for name, choice in (("spinning", self.spinning), ("arena", self.arena)):
            if choice is not None and not isinstance(choice, bool):
                raise BadInputType(f"{name} is {choice!r}; expected True or False, or None for the default.")
        if self.share_threads and self.lanes not in (None, 1):
            raise BadInput(f"lanes is {self.lanes}; engines that share their threads have one. Leave one of them out.")
        for name, value in (("variant", self.variant), ("provider", self.provider), ("profile", self.profile)):
            if not isinstance(value, str):
                raise BadInputType(f"{name} is {type(value).__name__}; expected a name, or 'auto'.")
        if not isinstance(self.provider_options, Mapping):
            raise BadInputType(
                f"provider_options is {type(self.provider_options).__name__}; expected names and values, like "
                "{'streams': 2}."
            )
        if self.cache_dir is not None:
            if not isinstance(self.cache_dir, (str, os.PathLike)):
                raise BadInputType(f"cache_dir is {type(self.cache_dir).__name__}; expected a folder.")
            if not self.check_hashes:
                raise BadInput("cache_dir is keyed by the hashes of the graph; leave check_hashes on.")
            force_setattr(self, "cache_dir", os.path.abspath(self.cache_dir))
        if not isinstance(self.path, (str, os.PathLike)):
            raise BadInputType(f"path is {type(self.path).__name__}; expected the folder of a bundle.")
        try:
            os.path.abspath(self.path).encode()
        except UnicodeEncodeError:
            raise BadInput(
                f"the path {ascii(os.fspath(self.path))[:200]} is not UTF-8, and ONNX Runtime opens no such path. "
                "Rename the folder, or make a link to it (ln -s)."
            ) from None
        # Absolute: a copy or a forked child may have another working directory.
        force_setattr(self, "path", os.path.abspath(self.path))
