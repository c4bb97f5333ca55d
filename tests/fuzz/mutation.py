"""Inputs without end: real ones, altered. The same seed gives the same inputs on every machine.

What a parser has not met before is kept and altered again, so that the search goes on from there;
"new" is told by the caller, by what came out (`campaign`).
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT = 4000
"""Inputs that are kept beside the seeds at most."""
ONE_IS_LONG = 400
"""One in so many inputs may grow to `Mutator.longest` bytes; the others stay near their seed."""

_JSON_VALUE = re.compile(rb'[:\[,]\s*("(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|\{\}|\[\])')
_NUMBER = re.compile(rb"\d+")
_JSON_VALUES = (
    *b'null|true|false|0|-0|-1|1|1.5|1e5|1e400|-1e400|""|[]|{}|"a"|"\\u0000"|"\\ud800"'.split(b"|"),
    *b'"\\ud83d\\ude00"|"\\u202e"|[null]|[[]]|[{}]|{"":null}|[1]|["a"]|[["a"]]|{"a":1}'.split(b"|"),
    *b'"1"|"0001-01-01T00:00:00.000Z"|"9999-12-31T23:59:59Z"|9223372036854775807'.split(b"|"),
    *b"9223372036854775808|18446744073709551616|-9223372036854775809".split(b"|"),
    b"1" * 400,
    b"1" * 5000,
    b"[" * 200 + b"]" * 200,
    b"[" * 5000 + b"]" * 5000,
    b'{"a":' * 200 + b"1" + b"}" * 200,
)
_NUMBERS = (
    *b"0|00|1|-1|2|7|255|256|65535|65536|2147483647|2147483648|4294967296|1e9|0x10|+1".split(b"|"),
    *b"9223372036854775807|9223372036854775808|18446744073709551615|1.0".split(b"|"),
    b"9" * 40,
    b"9" * 5000,
)
_ODD_BYTES = (
    *b"\0|\t|\n|\r\n| |\"|'|\\|,|;|=|/|//|:|<|>|[|]|{|}|%00|%2f|%|&|?|#|@|.|..|\x7f|\x80".split(
        b"|"
    ),
    *"\xe9|\ufffd|\u202e|\xb2|\u0663|\ufeff|\U0001f600|\uff0e|\u212a|\u017f|\u0130".encode().split(
        b"|"
    ),
    b"\xff",
    b"\xed\xa0\x80",
)


class Mutator:
    """Gives altered inputs: a seed or a kept one, changed in one place or in several.

    `words` are what the language of the inputs is made of; `longest` bounds an input, in bytes.
    """

    def __init__(
        self, seeds: Sequence[bytes], words: Sequence[bytes], *, seed: int, longest: int
    ) -> None:
        self.longest = longest
        self._random = random.Random(seed)
        self._pool = list(seeds)
        self._fixed = len(self._pool)
        self._words = [*words, *_ODD_BYTES]
        self._ways = (
            self._flip,
            self._put,
            self._insert,
            self._insert,
            self._overwrite,
            self._cut,
            self._cut,
            self._repeat,
            self._splice,
            self._renumber,
            self._revalue,
            self._revalue,
            self._transplant,
        )

    def next(self) -> bytes:
        """One more input."""
        number = self._random.random
        base = self._pick()
        data = base
        room = self.longest if number() * ONE_IS_LONG < 1 else max(2 * len(base), 160)
        while True:
            data = self._ways[int(number() * len(self._ways))](data)[: min(room, self.longest)]
            if number() < 0.4:
                return data

    def keep(self, data: bytes) -> None:
        """Alter this one too from now on, in place of an earlier one where all are taken."""
        if len(self._pool) - self._fixed < KEPT:
            self._pool.append(data)
        else:
            self._pool[self._fixed + self._below(KEPT)] = data

    def _below(self, bound: int) -> int:
        return int(self._random.random() * bound)

    def _pick(self) -> bytes:
        # Half of the time a real one: what was kept drifts away from what the world sends.
        among = self._fixed if self._random.random() < 0.5 else len(self._pool)
        return self._pool[self._below(among)]

    def _word(self) -> bytes:
        return self._words[self._below(len(self._words))]

    def _range(self, data: bytes) -> tuple[int, int]:
        begin = self._below(len(data) + 1)
        length = 1 + self._below(8 if self._random.random() < 0.7 else len(data) + 1)
        return begin, begin + length

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return data
        at = self._below(len(data))
        return data[:at] + bytes((data[at] ^ (1 << self._below(8)),)) + data[at + 1 :]

    def _put(self, data: bytes) -> bytes:
        at = self._below(len(data) + 1)
        return data[:at] + bytes((self._below(256),)) + data[at + 1 :]

    def _insert(self, data: bytes) -> bytes:
        at = self._below(len(data) + 1)
        return data[:at] + self._word() + data[at:]

    def _overwrite(self, data: bytes) -> bytes:
        at, word = self._below(len(data) + 1), self._word()
        return data[:at] + word + data[at + len(word) :]

    def _cut(self, data: bytes) -> bytes:
        begin, end = self._range(data)
        return data[:begin] + data[end:]

    def _repeat(self, data: bytes) -> bytes:
        begin, end = self._range(data)
        return data[:end] + data[begin:end] * (1 << self._below(12)) + data[end:]

    def _splice(self, data: bytes) -> bytes:
        other = self._pick()
        begin, end = self._range(other)
        at = self._below(len(data) + 1)
        if self._random.random() < 0.5:
            return data[:at] + other[begin:]
        return data[:at] + other[begin:end] + data[at:]

    def _renumber(self, data: bytes) -> bytes:
        return self._replaced(_NUMBER, 0, data, _NUMBERS[self._below(len(_NUMBERS))])

    def _revalue(self, data: bytes) -> bytes:
        return self._replaced(_JSON_VALUE, 1, data, _JSON_VALUES[self._below(len(_JSON_VALUES))])

    def _transplant(self, data: bytes) -> bytes:
        other = self._pick()
        found = _JSON_VALUE.search(other, self._below(len(other) + 1))
        return self._replaced(_JSON_VALUE, 1, data, found[1] if found else self._word())

    def _replaced(self, what: re.Pattern[bytes], group: int, data: bytes, instead: bytes) -> bytes:
        found = what.search(data, self._below(len(data) + 1)) or what.search(data)
        if found is None:
            return self._insert(data)
        return data[: found.start(group)] + instead + data[found.end(group) :]
