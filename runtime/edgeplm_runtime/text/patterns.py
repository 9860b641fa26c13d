"""Refuses the regular expressions of a tokenizer.json that could take exponential time on some text.

tokenizers 0.23 hands these patterns to Oniguruma, which backtracks: `(a+)+$` on 24 times "a" and a "b" comes
to its limit of retries after 0.1 s, and the tokenizer then panics (PanicException, no Exception). A build
with another regex engine may have no such limit (https://github.com/huggingface/tokenizers/pull/2060).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from edgeplm_runtime.errors import BadBundle


# The deepest of 21 tokenizer.json at hand nests 5 levels.
MAX_JSON_DEPTH = 64
# 50 times the longest pattern known (that of o200k, about 340 characters with its escapes).
MAX_PATTERN_CHARACTERS = 16_384
# From here on {n,m} counts as unbounded: ten nested choices of two are 1024 paths, harmless; 2**50 are not.
MANY_REPEATS = 10

COUNTED = re.compile(r"\{(?:(\d+)(,(\d*))?|,(\d+))\}")
FLAGS = re.compile(r"\?([A-Za-z]*)(?:-[A-Za-z]*)?[:)]")
NAMED = re.compile(r"\?P?(?:<(?![=!])[^>]*>|'[^']*')")
# An escape that goes on in braces or brackets: \p{Lu}, \x{2028}, \o{12}, \k<name>, \g<name>
LONG_ESCAPE = re.compile(r"\\(?:[pPxo]\{[^}]*\}|[kg](?:<[^>]*>|'[^']*'))")


class UnreadablePattern(ValueError):
    """A pattern that this module cannot follow, with what is wrong in it."""


def refuse_exponential_patterns(tokenizer_json: dict[str, Any], *, name: str) -> None:
    """Returns when no {"Regex": …} in a parsed tokenizer.json repeats a repeat without bound.

    Raises BadBundle, which names the file (`name`), the JSON path and the pattern. This is a conservative
    heuristic: it refuses a group that holds an unbounded repeat and is itself repeated without bound, such
    as (a+)+ or (a|b*)*, although some of these, like (a+b)+, are harmless. It does not see overlapping
    alternatives, (a|aa)+, nor what is only polynomial, such as a*a*a*b. A possessive repeat, a++, and an
    atomic group, (?>a+), never backtrack and pass. It reads Oniguruma's Ruby syntax; comments, (?#…), and
    the extended mode, (?x), are refused, since they could hide parentheses and repeats.
    """
    model = tokenizer_json.get("model")
    # A vocabulary of 250 000 entries holds no patterns, and walking it would cost 100 ms.
    skipped = {id(model.get("vocab")), id(model.get("merges"))} if isinstance(model, dict) else set()
    waiting: list[tuple[str, Any, int]] = [("", tokenizer_json, 0)]
    while waiting:
        path, value, depth = waiting.pop()
        if not isinstance(value, (dict, list)) or id(value) in skipped:
            continue
        if depth > MAX_JSON_DEPTH:
            raise BadBundle(
                f"{name}: {path[:200]}… is nested deeper than {MAX_JSON_DEPTH} levels, which no tokenizer "
                "needs. Do not use this file."
            )
        if isinstance(value, list):
            waiting += [(f"{path}[{index}]", item, depth + 1) for index, item in enumerate(value)]
            continue
        if "Regex" in value:
            _check_pattern(value["Regex"], f"{path}.Regex".lstrip("."), name)
        # Cut, since a long key with many items below it would be repeated for each of them.
        waiting += [(f"{path}.{key[:80]}".lstrip("."), item, depth + 1) for key, item in value.items()]


def _check_pattern(pattern: object, path: str, name: str) -> None:
    if not isinstance(pattern, str):
        raise BadBundle(f"{name}: {path} is {type(pattern).__name__}, a text is expected. Save the tokenizer again.")
    shown = repr(pattern if len(pattern) <= 400 else pattern[:400] + "…")
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise BadBundle(
            f"{name}: {path} has {len(pattern)} characters, at most {MAX_PATTERN_CHARACTERS} are allowed: "
            f"{shown}. Do not use this tokenizer."
        )
    try:
        nested = nested_repeat(pattern)
    except UnreadablePattern as error:
        raise BadBundle(
            f"{name}: {path} is the pattern {shown}, {error}. Save the tokenizer again with a plain pattern."
        ) from None
    if nested is not None:
        raise BadBundle(
            f"{name}: {path} is the pattern {shown}; its part {nested[:80]!r} repeats a repeat without "
            "bound, which can take exponential time on some texts. Make one of the two repeats possessive "
            "(a++), or do not use this tokenizer."
        )


@dataclass(kw_only=True, slots=True)
class _Group:
    """An open group; repeats: whether something in it repeats without bound and can give back."""

    start: int
    atomic: bool = False
    repeats: bool = False


def nested_repeat(pattern: str) -> str | None:
    """The first part of a pattern that repeats an unbounded repeat, or None. Raises UnreadablePattern.

    Takes one pass, in time linear in the pattern.
    """
    groups = [_Group(start=0)]
    position = 0
    while position < len(pattern):
        start = position
        repeats = False
        character = pattern[position]
        if character == "(":
            position = _open_group(pattern, position, groups)
            continue
        if character == ")":
            if len(groups) == 1:
                raise UnreadablePattern(f"which closes a group at {position} that it never opened")
            group = groups.pop()
            start, repeats = group.start, group.repeats and not group.atomic
            position += 1
        elif character == "[":
            position = _after_class(pattern, position)
        elif character == "\\":
            long_escape = LONG_ESCAPE.match(pattern, position)
            # A call repeats whatever the group it names repeats, even itself.
            repeats = pattern.startswith("\\g", position)
            position = long_escape.end() if long_escape else position + 2
        else:
            position += 1
        position, repeats, nested = _after_repeats(pattern, position, repeats)
        if nested:
            return pattern[start:position]
        groups[-1].repeats |= repeats
    if len(groups) > 1:
        raise UnreadablePattern(f"which never closes its group at {groups[-1].start}")
    return None


def _open_group(pattern: str, position: int, groups: list[_Group]) -> int:
    """Opens the group at position and returns where its content begins."""
    start = position
    position += 1
    if pattern.startswith("?#", position):
        # Oniguruma lets a comment stand between an atom and its repeat: (a+)(?#…)+
        raise UnreadablePattern(f"which has a comment at {start}; comments are not read")
    flags = FLAGS.match(pattern, position)
    if flags and "x" in flags[1]:
        raise UnreadablePattern(f"which switches to the extended mode at {start}; that mode is not read")
    groups.append(
        # The absent operator (?~…) takes any text that does not hold its content: a repeat by itself.
        _Group(start=start, atomic=pattern.startswith("?>", position), repeats=pattern.startswith("?~", position))
    )
    if flags:
        # The closing parenthesis of (?i) is left to close the group just opened.
        return flags.end() - 1 if flags[0].endswith(")") else flags.end()
    named = NAMED.match(pattern, position)
    if named:
        return named.end()
    for opening in ("?<=", "?<!", "?=", "?!", "?>", "?~"):
        if pattern.startswith(opening, position):
            return position + len(opening)
    return position


def _after_class(pattern: str, position: int) -> int:
    """The position after the character class at `position`, with the classes inside it."""
    start = position
    depth = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            position += 1
        elif character == "[":
            depth += 1
            if pattern.startswith("^", position + 1):
                position += 1
            # Oniguruma takes a first ] for itself, if another one closes the class.
            if pattern.startswith("]", position + 1) and pattern.find("]", position + 2) >= 0:
                position += 1
        elif character == "]":
            depth -= 1
            if depth == 0:
                return position + 1
        position += 1
    raise UnreadablePattern(f"which never closes its character class at {start}")


def _after_repeats(pattern: str, position: int, repeats: bool) -> tuple[int, bool, bool]:
    """Reads the repeats after an atom; repeats: whether the atom itself holds one that can give back.

    Returns the position after them, whether the whole holds such a repeat, and whether an unbounded one
    stands upon another. That includes a{2,}+, which in the Ruby syntax is no possessive repeat.
    """
    nested = False
    while position < len(pattern):
        possessive = False
        if pattern[position] in "*+?":
            unbounded = pattern[position] != "?"
            position += 1
            possessive = pattern.startswith("+", position)
            position += possessive or pattern.startswith("?", position)
        else:
            counted = COUNTED.match(pattern, position)
            if counted is None:
                break
            position = counted.end()
            at_least, comma, at_most, up_to = counted.groups()
            most = up_to or (at_most if comma else at_least)
            unbounded = not most or len(most) > 6 or int(most) >= MANY_REPEATS
            position += pattern.startswith("?", position)
        nested |= unbounded and repeats and not possessive
        repeats = (repeats or unbounded) and not possessive
    return position, repeats, nested
