"""`keras.preprocessing.text`: texts as numbers."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'


def text_to_word_sequence(
    text: str, filters: str = _FILTERS, lower: bool = True, split: str = " "
) -> list[str]:
    """Returns the words of a text: without the characters of `filters`, in lower case, cut at `split`."""
    if lower:
        text = text.lower()
    text = text.translate({ord(character): split for character in filters})
    return [word for word in text.split(split) if word]


def one_hot(
    text: str, n: int, filters: str = _FILTERS, lower: bool = True, split: str = " "
) -> list[int]:  # fmt: skip
    """Returns a number of [1, n) for each word, by Python's hash: different in every process."""
    return hashing_trick(text, n, hash, filters, lower, split)


def hashing_trick(
    text: str, n: int, hash_function: Any = None, filters: str = _FILTERS, lower: bool = True, split: str = " "
) -> list[int]:  # fmt: skip
    """Returns a number of [1, n) for each word; `hash_function` may be "md5", the same in every process."""
    if hash_function is None:
        hash_function = hash
    elif hash_function == "md5":

        def hash_function(word: str) -> int:
            return int(hashlib.md5(word.encode()).hexdigest(), 16)

    return [hash_function(word) % (n - 1) + 1 for word in text_to_word_sequence(text, filters, lower, split)]


class Tokenizer:
    """Gives each word of some texts a number, the more frequent the smaller, from 1.

    Args:
      num_words: only numbers below it are given out; default all.
      filters: characters that are no part of words.
      lower: whether texts are put in lower case.
      split: what separates words.
      char_level: whether every character is a word.
      oov_token: a word of number 1 that stands for all others.
      document_count: accepted.
      **kwargs: `nb_words`, the old name of `num_words`.
    """

    def __init__(
        self, num_words: int | None = None, filters: str = _FILTERS, lower: bool = True, split: str = " ",
        char_level: bool = False, oov_token: str | None = None, document_count: int = 0, **kwargs: Any,
    ) -> None:  # fmt: skip
        num_words = kwargs.pop("nb_words", num_words)
        document_count = kwargs.pop("document_count", document_count)
        if kwargs:
            raise TypeError(f"Unrecognized keyword arguments: {', '.join(kwargs)}")
        self.word_counts: OrderedDict[str, int] = OrderedDict()
        self.word_docs: defaultdict[str, int] = defaultdict(int)
        self.filters = filters
        self.split = split
        self.lower = lower
        self.num_words = num_words
        self.document_count = document_count
        self.char_level = char_level
        self.oov_token = oov_token
        self.index_docs: defaultdict[int, int] = defaultdict(int)
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}

    def _words(self, text: Any) -> Sequence[str]:
        if self.char_level or isinstance(text, list):
            if not self.lower:
                return text
            return [word.lower() for word in text] if isinstance(text, list) else text.lower()
        return text_to_word_sequence(text, self.filters, self.lower, self.split)

    def fit_on_texts(self, texts: Iterable[Any]) -> None:
        """Learns words: `texts` are strings, or lists of words."""
        for text in texts:
            self.document_count += 1
            words = self._words(text)
            for word in words:
                self.word_counts[word] = self.word_counts.get(word, 0) + 1
            for word in set(words):
                self.word_docs[word] += 1
        ordered = sorted(self.word_counts.items(), key=lambda item: -item[1])
        every = ([] if self.oov_token is None else [self.oov_token]) + [word for word, _ in ordered]
        self.word_index = {word: i for i, word in enumerate(every, 1)}
        self.index_word = {i: word for word, i in self.word_index.items()}
        for word, count in self.word_docs.items():
            self.index_docs[self.word_index[word]] = count

    def fit_on_sequences(self, sequences: Iterable[Sequence[int]]) -> None:
        """Learns how many sequences a number comes up in."""
        for numbers in sequences:
            self.document_count += 1
            for number in set(numbers):
                self.index_docs[number] += 1

    def texts_to_sequences(self, texts: Iterable[Any]) -> list[list[int]]:
        """Returns the numbers of the words of each text; unknown words are left out, or stand as `oov_token`."""
        return list(self.texts_to_sequences_generator(texts))

    def texts_to_sequences_generator(self, texts: Iterable[Any]) -> Iterator[list[int]]:
        """Yields what `texts_to_sequences` returns."""
        other = self.word_index.get(self.oov_token) if self.oov_token is not None else None
        for text in texts:
            found = []
            for word in self._words(text):
                number = self.word_index.get(word)
                if number is None or (self.num_words and number >= self.num_words):
                    number = other
                if number is not None:
                    found.append(number)
            yield found

    def sequences_to_texts(self, sequences: Iterable[Sequence[int]]) -> list[str]:
        """Returns the words of numbers, with spaces between."""
        return list(self.sequences_to_texts_generator(sequences))

    def sequences_to_texts_generator(self, sequences: Iterable[Sequence[int]]) -> Iterator[str]:
        """Yields what `sequences_to_texts` returns."""
        other = self.word_index.get(self.oov_token) if self.oov_token is not None else None
        for numbers in sequences:
            words = []
            for number in numbers:
                word = self.index_word.get(number)
                if word is None or (self.num_words and number >= self.num_words):
                    word = self.index_word[other] if other is not None else None
                if word is not None:
                    words.append(word)
            yield " ".join(words)

    def texts_to_matrix(self, texts: Iterable[Any], mode: str = "binary") -> Array:
        """Returns a row per text: which words it has; see `sequences_to_matrix`."""
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(self, sequences: Sequence[Sequence[int]], mode: str = "binary") -> Array:
        """Returns a row per sequence, [count, num_words].

        Args:
          sequences: lists of numbers.
          mode: "binary" (one where a number comes up), "count", "freq" (shares), "tfidf".

        Raises:
          ValueError: if the size is not known, or the mode.
        """
        if not self.num_words and not self.word_index:
            raise ValueError("Specify a dimension (`num_words` argument), or fit on some text data first.")
        width = self.num_words or len(self.word_index) + 1
        if mode == "tfidf" and not self.document_count:
            raise ValueError("Fit the Tokenizer on some data before using tfidf mode.")
        if mode not in ("binary", "count", "freq", "tfidf"):
            raise ValueError(f"Unknown vectorization mode: {mode}")
        rows = np.zeros((len(sequences), width))
        for row, numbers in zip(rows, sequences, strict=True):
            for number, count in Counter(n for n in numbers if n < width).items():
                if mode == "count":
                    row[number] = count
                elif mode == "freq":
                    row[number] = count / len(numbers)
                elif mode == "binary":
                    row[number] = 1
                else:
                    rarity = np.log(1 + self.document_count / (1 + self.index_docs.get(number, 0)))
                    row[number] = (1 + np.log(count)) * rarity
        return rows

    def get_config(self) -> dict[str, Any]:
        """Returns all that the tokenizer knows as plain values."""
        tables = {
            name: json.dumps(getattr(self, name))
            for name in ("word_counts", "word_docs", "index_docs", "index_word", "word_index")
        }
        names = ("num_words", "filters", "lower", "split", "char_level", "oov_token", "document_count")
        return {**{name: getattr(self, name) for name in names}, **tables}

    def to_json(self, **kwargs: Any) -> str:
        """Returns `get_config` as JSON."""
        return json.dumps({"class_name": type(self).__name__, "config": self.get_config()}, **kwargs)


def tokenizer_from_json(json_string: str) -> Tokenizer:
    """Makes a tokenizer of what `Tokenizer.to_json` returned."""
    told = json.loads(json_string)["config"]
    tables = {
        name: json.loads(told.pop(name))
        for name in ("word_counts", "word_docs", "index_docs", "index_word", "word_index")
    }
    made = Tokenizer(**told)
    made.word_counts = OrderedDict(tables["word_counts"])
    made.word_docs.update(tables["word_docs"])
    made.index_docs.update({int(k): v for k, v in tables["index_docs"].items()})
    made.word_index = tables["word_index"]
    made.index_word = {int(k): v for k, v in tables["index_word"].items()}
    return made


__all__ = [
    "Tokenizer", "hashing_trick", "one_hot", "text_to_word_sequence", "tokenizer_from_json",
]  # fmt: skip
