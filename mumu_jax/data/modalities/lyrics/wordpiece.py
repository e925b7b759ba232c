"""WordPiece: text as ids of words and parts of words, as BERT sees it (Devlin et al. 2019), by Hugging Face's package.

That package, `tokenizers`, is the extra `lyrics`, and is imported where it is needed.  A vocabulary is a file with a
piece a line; the line's number, from 0, is its id.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from mumu_jax.config import TokenSettings
from mumu_jax.errors import UserError, reason_of
from mumu_jax.system.files import replacing

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIAL = (PAD, UNKNOWN, START, END)
MOST_CHARACTERS = 1000  # of a fitted vocabulary's alphabet, as in BERT's
LEAST_COUNT = 2  # of a fitted piece in the training texts
_BATCH = 1024  # texts encoded at a time: the library keeps also what it truncates


@dataclass(frozen=True)
class WordPiece:
    """A vocabulary by id; `lower_case` tells if texts are seen in lower case and without accents."""

    pieces: tuple[str, ...]
    lower_case: bool

    def encode(self, texts: Sequence[str], max_tokens: int) -> Int32[np.ndarray, "texts tokens"]:
        """Return the ids of each text's first pieces between [CLS] and [SEP], and 0, which is [PAD], behind them."""
        tokenizer, ids = self._tokenizer, np.zeros((len(texts), max_tokens), np.int32)
        tokenizer.enable_truncation(max_tokens)
        for low in range(0, len(texts), _BATCH):
            for i, encoding in enumerate(tokenizer.encode_batch(list(texts[low : low + _BATCH])), low):
                ids[i, : len(encoding.ids)] = encoding.ids
        return ids

    def save(self, path: Path) -> None:
        with replacing(path) as temporary:
            temporary.write_text("".join(f"{piece}\n" for piece in self.pieces), encoding="utf-8", newline="\n")

    @cached_property
    def _tokenizer(self) -> Any:
        ids = {piece: i for i, piece in enumerate(self.pieces)}
        model = _tokenizers().models.WordPiece(ids, unk_token=UNKNOWN, max_input_chars_per_word=100)
        tokenizer = _splitter(model, self.lower_case)
        ends = ((end, ids[end]) for end in (END, START))
        tokenizer.post_processor = _tokenizers().processors.BertProcessing(*ends)
        return tokenizer


def read_wordpiece(path: Path, settings: TokenSettings) -> WordPiece:
    """Read a BERT's vocab.txt, or what `WordPiece.save` wrote.

    Raises UserError if [PAD] is not its first piece, if another of SPECIAL is missing, if a piece comes twice, or if
    there are more than `n_terms`.
    """
    try:
        pieces = tuple(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read the vocabulary {path}: {reason_of(error)}; give a BERT's vocab.txt as "
            "config.tokens.vocabulary, or leave it out"
        ) from error
    if fault := _fault_of(pieces, settings.n_terms):
        raise UserError(f"config.tokens.vocabulary, {path}: expected {fault}")
    return WordPiece(pieces, settings.lower_case)


def _fault_of(pieces: tuple[str, ...], n_terms: int) -> str:
    """Say what was expected of a vocabulary, what was found and what to do; "" if all is as it should be."""
    if pieces[0] != PAD:
        return f"{PAD} in its first line, found {pieces[0]!r}; give a BERT's vocab.txt"
    if missing := [piece for piece in SPECIAL if piece not in pieces]:
        return f"a line {missing[0]}, found none; give a BERT's vocab.txt"
    if len(pieces) > n_terms:
        return f"at most {n_terms:,} lines, found {len(pieces):,}; set config.tokens.n_terms={len(pieces)}"
    [(piece, count)] = Counter(pieces).most_common(1)
    return f"each piece once, found {piece!r} {count} times; take out all but one" if count > 1 else ""


def fit_wordpiece(texts: Iterable[str], settings: TokenSettings) -> WordPiece:
    """Fit a vocabulary of at most `n_terms` pieces to texts: the same ones always give the same one.

    The alphabet is counted here and given to the trainer, with the pieces of one character that continue a word.  By
    itself it numbers these in a random order, on which ties depend, and may exceed `n_terms`.
    """
    tokenizers = _tokenizers()
    tokenizer = _splitter(tokenizers.models.WordPiece(unk_token=UNKNOWN), settings.lower_case)
    split = [" ".join(_words(tokenizer, text)) for text in texts]
    counts: Counter[str] = Counter()
    for text in split:
        counts.update(text)
    frequent = sorted({*counts} - {" "}, key=lambda char: (-counts[char], char))
    alphabet = frequent[: min(MOST_CHARACTERS, (settings.n_terms - len(SPECIAL)) // 2)]
    single = (*sorted(alphabet), *(f"##{char}" for char in sorted(alphabet)))
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=settings.n_terms,
        min_frequency=LEAST_COUNT,
        special_tokens=[*SPECIAL, *single],
        show_progress=False,
    )
    known = set(alphabet)
    whole = (" ".join(filter(known.issuperset, text.split(" "))) for text in split)
    tokenizer.train_from_iterator(whole, trainer)
    ids = tokenizer.get_vocab()
    return WordPiece(tuple(sorted(ids, key=ids.__getitem__)), settings.lower_case)


def _words(tokenizer: Any, text: str) -> list[str]:
    """Return the words and the punctuation marks of a text."""
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))]


def _splitter(model: Any, lower_case: bool) -> Any:
    """Return a tokenizer that splits texts as BERT's does."""
    tokenizers = _tokenizers()
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lower_case)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return tokenizer


def bags_of(ids: Int32[np.ndarray, "texts tokens"], n_pieces: int) -> Any:
    """Return the pieces of texts as `batch.Sparse` rows of Euclidean norm 1: 1 + ln count of each."""
    from scipy.sparse import csr_array
    from sklearn.preprocessing import normalize

    from mumu_jax.data.modalities.text.tfidf import sparse_rows

    rows, places = np.nonzero(ids)
    bags = csr_array((np.ones(len(rows), np.float32), (rows, ids[rows, places])), (len(ids), n_pieces))
    bags.data = 1 + np.log(bags.data)
    return sparse_rows(normalize(bags))


def check_installed() -> None:
    """Raise UserError without the extra."""
    _tokenizers()


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise UserError("lyrics need the package tokenizers; install the extra: pip install -e '.[lyrics]'") from error
    return tokenizers
