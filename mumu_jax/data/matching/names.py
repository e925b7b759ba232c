"""Titles and names in the form in which two catalogues are compared: what a shop or a database adds is taken away.

Without case, accents, punctuation and articles; editions (`[Import]`, `- Deluxe Edition`), remasters, sleeves and
guests do not count.  Numbers do: `Led Zeppelin II` is not `III`.
"""

import html
import re
import unicodedata
from functools import lru_cache

_LETTERS = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "$": "s"})
_GUESTS = re.compile(r"[\s(\[]+(?:feat\.?|featuring|ft\.)\s\S.*")  # not Little Feat, which nothing follows
_EDITIONS = (
    r"(?:deluxe|re-?mastere?d?|edition|expanded|anniversary|re-?issue|bonus|limited|collector'?s|special|legacy|"
    r"digi-?pac?k|original recording)"
)
_WARES = (  # these may be words of a title, but not in brackets
    r"(?:import|explicit|clean|edited|vinyl|lp|cds?|dvds?|sacd|hybrid|enhanced|mono|stereo|discs?|cassette|"
    r"audio cd|mp3|box ?set|digital|amended|180 ?gram)"
)
_BRACKETS = re.compile(rf"[(\[{{][^()\[\]{{}}]*\b(?:{_EDITIONS}|{_WARES})\b[^()\[\]{{}}]*[)\]}}]")
_TAIL = re.compile(rf"\s(?:[-–—:,/]\s)[^-–—:,/]*\b{_EDITIONS}\b.*$|[:,]\s[^-–—:,/]*\b{_EDITIONS}\b.*$")
_SOUNDTRACK = re.compile(
    r"[\s:,\-(\[]*\b(?:(?:the\s)?(?:original|music)\s(?:from\s(?:and\sinspired\sby\s)?(?:the\s)?)?"
    r"(?:original\s)?(?:motion\spicture|television|tv|movie|film|series)?\s?(?:sound\s?track|score|motion\spicture)"
    r"(?:\s(?:recording|album))?|ost|soundtrack)\b[)\]]*\s*$"
)
_WRITTEN: dict[str, str] = {
    **{"ii": "2", "iii": "3", "iv": "4", "v": "5", "vi": "6", "vii": "7", "viii": "8", "ix": "9", "x": "10"},  # I is I
    **{"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8"},
    **{"vol": "volume", "vols": "volume", "pt": "part", "pts": "part", "nos": "number"},
}
_ARTICLES = {"the", "a", "an"}
_WORD = re.compile(r"[^\W\d_]+|\d+")
_MANY = {"various artists", "various", "va", "v a", "various artist", "soundtrack", "original soundtrack"}
MANY_ARTISTS = "various artists"
_JOINERS = re.compile(r"\s*(?:[;/,]|\s(?:&|\+|and|with|vs\.?|feat\.?|featuring|ft\.?|presents)\s)\s*", re.IGNORECASE)


def title_of(text: str) -> str:
    """Return the words of an album's title, joined by spaces; empty only if the text has no letter and no sign."""
    plain = _plain(text)
    bare = _SOUNDTRACK.sub("", _TAIL.sub("", _BRACKETS.sub(" ", plain)))
    return _words(_GUESTS.sub("", bare)) or _words(plain) or "".join(plain.split())


@lru_cache(maxsize=1 << 16)  # an artist has many albums
def name_of(text: str) -> str:
    """Return the words of an artist's name, joined by spaces; all names of no single artist are one."""
    plain = _plain(text)
    words = _words(_GUESTS.sub("", plain)) or _words(plain) or "".join(plain.split())
    return MANY_ARTISTS if words in _MANY else words


@lru_cache(maxsize=1 << 16)
def artists_in(text: str) -> tuple[str, ...]:
    """Return the names that a credit such as `Bob Marley & The Wailers` joins, without itself; none of one name."""
    parts = (name_of(part) for part in _JOINERS.split(text) if part.strip())
    whole = name_of(text)
    return tuple(dict.fromkeys(part for part in parts if part and part != whole))


def numbers_in(words: str) -> frozenset[str]:
    """Return the words of a normalised title that hold a digit."""
    return frozenset(word for word in words.split() if not word.isalpha())


def _plain(text: str) -> str:
    """Return the text in lower case, without marks above letters, as one line."""
    letters = unicodedata.normalize("NFKD", html.unescape(text).casefold())
    bare = letters if letters.isascii() else "".join(char for char in letters if not unicodedata.combining(char))
    return " ".join(bare.translate(_LETTERS).replace("’", "'").split())


def _words(text: str) -> str:
    joined = text.replace("'", "").replace("&", " and ").replace("+", " and ")
    initials = re.sub(r"\b(\w)\.(?=\w\b)", r"\1", joined)  # r.e.m. is rem
    words = [_WRITTEN.get(word) or word for word in map(str, _WORD.findall(initials))]
    return " ".join(word for word in words if word not in _ARTICLES) or " ".join(words)
