"""`learn.preprocessing`: words of documents as ids."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

_WORD = re.compile(r"[A-Z]{2,}(?![a-z])|[A-Z][a-z]+(?=[A-Z])|[\'\w\-]+", re.UNICODE)


def tokenizer(iterator: Iterable[str]) -> Iterator[list[str]]:
    """Gives the words of each text."""
    for value in iterator:
        yield _WORD.findall(value)


class CategoricalVocabulary:
    """Ids of words, from 1; 0 stands for what is unknown.

    Args:
      unknown_token: what 0 stands for.
      support_reverse: whether `reverse` works.
    """

    def __init__(self, unknown_token: str = "<UNK>", support_reverse: bool = True) -> None:
        self._unknown_token = unknown_token
        self._mapping: dict[Any, int] = {unknown_token: 0}
        self._support_reverse = support_reverse
        self._reverse_mapping: list[Any] = [unknown_token]
        self._freq: dict[Any, int] = {}
        self._freeze = False

    def __len__(self) -> int:
        return len(self._mapping)

    def freeze(self, freeze: bool = True) -> None:
        """Says whether words that are new are unknown from here on."""
        self._freeze = freeze

    def get(self, category: Any) -> int:
        """Returns the id of a word, a new one unless the vocabulary is frozen."""
        if category not in self._mapping:
            if self._freeze:
                return 0
            self._mapping[category] = len(self._mapping)
            self._reverse_mapping.append(category)
        return self._mapping[category]

    def add(self, category: Any, count: int = 1) -> None:
        """Counts a word."""
        number = self.get(category)
        if number > 0:
            self._freq[category] = self._freq.get(category, 0) + count

    def trim(self, min_frequency: int, max_frequency: int = -1) -> None:
        """Leaves out words that are rarer, or more frequent; the most frequent have the lowest ids."""
        kept = sorted(
            sorted(self._freq.items(), key=lambda item: (str(item[0]), item[1])), key=lambda item: -item[1]
        )
        kept = [(w, n) for w, n in kept if n > min_frequency and (max_frequency < 0 or n < max_frequency)]
        words = [self._unknown_token, *(word for word, _ in kept)]
        self._mapping = {word: i for i, word in enumerate(words)}
        self._reverse_mapping = words
        self._freq = dict(kept)

    def reverse(self, class_id: int) -> Any:
        """Returns the word of an id.

        Raises:
          ValueError: if the vocabulary does not support it.
        """
        if not self._support_reverse:
            raise ValueError(
                "This vocabulary wasn't initialized with support_reverse to support reverse() function."
            )
        return self._reverse_mapping[class_id]


class VocabularyProcessor:
    """Documents as rows of ids.

    Args:
      max_document_length: the length of rows; longer documents are cut, shorter ones filled up with 0.
      min_frequency: words must be more frequent than this.
      vocabulary: a vocabulary to use.
      tokenizer_fn: gives the words of each of some texts.
    """

    def __init__(
        self, max_document_length: int, min_frequency: int = 0, vocabulary: CategoricalVocabulary | None = None,
        tokenizer_fn: Callable[[Iterable[str]], Iterable[list[str]]] | None = None,
    ) -> None:  # fmt: skip
        self.max_document_length = max_document_length
        self.min_frequency = min_frequency
        self.vocabulary_ = vocabulary if vocabulary is not None else CategoricalVocabulary()
        self._tokenizer = tokenizer_fn or tokenizer

    def fit(self, raw_documents: Iterable[str], unused_y: Any = None) -> VocabularyProcessor:
        """Learns the words of documents; returns itself."""
        for tokens in self._tokenizer(raw_documents):
            for token in tokens:
                self.vocabulary_.add(token)
        if self.min_frequency > 0:
            self.vocabulary_.trim(self.min_frequency)
        self.vocabulary_.freeze()
        return self

    def fit_transform(self, raw_documents: Iterable[str], unused_y: Any = None) -> Iterator[Any]:
        """Learns the words of documents, and gives their ids."""
        documents = list(raw_documents)
        self.fit(documents)
        return self.transform(documents)

    def transform(self, raw_documents: Iterable[str]) -> Iterator[Any]:
        """Gives the ids of each document, int64 [max_document_length]."""
        for tokens in self._tokenizer(raw_documents):
            ids = np.zeros(self.max_document_length, np.int64)
            for i, token in enumerate(tokens[: self.max_document_length]):
                ids[i] = self.vocabulary_.get(token)
            yield ids

    def reverse(self, documents: Iterable[Any]) -> Iterator[str]:
        """Gives the words of each row of ids."""
        for item in documents:
            yield " ".join(str(self.vocabulary_.reverse(int(number))) for number in item)

    def save(self, filename: str) -> None:
        """Writes length, frequency and vocabulary as JSON; a tokenizer of one's own has to be given anew."""
        own = self.vocabulary_
        kept = {"max_document_length": self.max_document_length, "min_frequency": self.min_frequency,
                "words": own._reverse_mapping, "counts": own._freq, "frozen": own._freeze}  # fmt: skip
        with open(filename, "w", encoding="utf-8") as file:
            json.dump(kept, file)

    @classmethod
    def restore(cls, filename: str) -> VocabularyProcessor:
        """Reads what `save` wrote.

        Raises:
          ValueError: for another file, such as TensorFlow's pickle, which could run code.
        """
        try:
            with open(filename, encoding="utf-8") as file:
                kept = json.load(file)
            made = cls(int(kept["max_document_length"]), int(kept["min_frequency"]))
            own = made.vocabulary_
            own._reverse_mapping = list(kept["words"])
            own._mapping = {word: i for i, word in enumerate(own._reverse_mapping)}
            own._freq, own._freeze = dict(kept["counts"]), bool(kept["frozen"])
        except (UnicodeDecodeError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{filename} was not written by VocabularyProcessor.save ({error}); pickled ones are not read, for they"
                " can run any code"
            ) from None
        return made


__all__ = ["CategoricalVocabulary", "VocabularyProcessor", "tokenizer"]
