"""What models have in common that only look up rows of a table."""

from __future__ import annotations


# What a graph call costs beside its tokens, in tokens, Python's part in it counted (docs/scheduling.md).
CALL_TOKENS = 4096
