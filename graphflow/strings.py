"""`gf.strings`: texts.

A table: each name stands once where it is defined, and is only passed on here.
"""

# ruff: noqa: I001
# fmt: off

from graphflow.namespace import lazy
from graphflow.ops.control import string_format as format
from graphflow.ops.ngrams import ngrams as ngrams
from graphflow.ops.strings import (
    as_string as as_string, reduce_join as reduce_join, regex_full_match as regex_full_match,
    regex_replace as regex_replace, string_join as join, string_length as length, string_lower as lower,
    string_bytes_split as bytes_split, string_split_v2 as split, string_strip as strip,
    string_to_hash_bucket as to_hash_bucket,
    string_to_hash_bucket_fast as to_hash_bucket_fast,
    string_to_hash_bucket_strong as to_hash_bucket_strong, string_to_number as to_number,
    string_upper as upper, substr as substr, unsorted_segment_join as unsorted_segment_join,
)
from graphflow.ops.unicode import (
    unicode_decode as unicode_decode, unicode_decode_with_offsets as unicode_decode_with_offsets,
    unicode_encode as unicode_encode, unicode_script as unicode_script, unicode_split as unicode_split,
    unicode_split_with_offsets as unicode_split_with_offsets, unicode_transcode as unicode_transcode,
)

__getattr__, __dir__ = lazy(__name__)

__all__ = [
    "as_string", "bytes_split", "format", "join", "length", "lower", "ngrams", "reduce_join",
    "regex_full_match", "regex_replace", "split", "strip", "substr", "to_hash_bucket",
    "to_hash_bucket_fast", "to_hash_bucket_strong", "to_number", "unicode_decode",
    "unicode_decode_with_offsets", "unicode_encode", "unicode_script", "unicode_split",
    "unicode_split_with_offsets", "unicode_transcode", "unsorted_segment_join", "upper",
]
