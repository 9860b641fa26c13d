"""The files that an engine uses are those of the manifest: checked before they are used, or while others are opened.

Imports neither numpy nor ONNX Runtime: hashing the weights begins before those are imported.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from edgeplm_runtime.bundle.choose import candidates, provider_of
from edgeplm_runtime.bundle.reader import Bundle
from edgeplm_runtime.engine.settings import Settings
from edgeplm_runtime.errors import BadInput
from edgeplm_runtime.providers import provider_named


def trust(bundle: Bundle, names: Sequence[str], settings: Settings) -> None:
    """Make sure that these files are those of the manifest, or at least that they belong to the bundle."""
    if settings.check_hashes:
        bundle.check(names)
    else:
        bundle.refuse_shared(names)


def likely_weights(bundle: Bundle, settings: Settings) -> tuple[str, ...]:
    """The weight files of the variant that open_best tries first; none where it will refuse what was asked."""
    with suppress(BadInput):
        asked = provider_of(bundle.manifest, variant=settings.variant, provider=settings.provider)
        provider = provider_named(asked)
        for candidate in candidates(bundle.manifest, variant=settings.variant, provider=provider.name):
            if candidate.reason is None:
                return candidate.variant.files[1:]
    return ()


@contextmanager
def trusted_meanwhile(bundle: Bundle, names: Sequence[str], settings: Settings) -> Iterator[None]:
    """trust() in a thread, beside the work inside; what it finds wins over what fails there."""
    if not names:
        yield
        return
    found: list[BaseException] = []

    def check() -> None:
        try:
            trust(bundle, names, settings)
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=check, name="edgeplm-hash")
    thread.start()
    try:
        yield
    finally:
        thread.join()
        if found:
            raise found[0] from None
