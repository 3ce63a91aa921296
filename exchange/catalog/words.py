"""Words of texts, as the catalog's index keeps them and as a search asks for them.

Texts are brought to Unicode's compatibility form and folded to lower case. Letters and digits in a row are a
word. Chinese, Japanese and Korean have no spaces between words, so every character and every pair of
neighbours is one: a search for some characters in a row finds every text that has them so.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["asked", "words"]

_WORD = re.compile(r"[^\W_]+")
# kana, han, hangul
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_RUN = re.compile(f"([{_IDEOGRAPHS}]+)|([^{_IDEOGRAPHS}]+)")


def words(text: str) -> set[str]:
    """List the words of a text, pairs of ideographs and single ones among them."""
    found: set[str] = set()
    for word in _WORD.findall(_folded(text)):
        if word.isascii():
            found.add(word)
            continue
        for run, other in _RUN.findall(word):
            if other:
                found.add(other)
            else:
                found.update(run)
                found.update(run[i : i + 2] for i in range(len(run) - 1))
    return found


def asked(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split a search into words that must occur as they are and words of which the beginning is enough.

    One letter or digit alone is a whole word: there is hardly a text in which nothing begins with it.
    """
    whole: list[str] = []
    beginnings: list[str] = []
    for word in _WORD.findall(_folded(text)):
        for run, other in _RUN.findall(word):
            if other:
                (beginnings if len(other) > 1 else whole).append(other)
            elif len(run) == 1:
                whole.append(run)
            else:
                whole.extend(run[i : i + 2] for i in range(len(run) - 1))
    return tuple(dict.fromkeys(whole)), tuple(dict.fromkeys(beginnings))


def _folded(text: str) -> str:
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold()
