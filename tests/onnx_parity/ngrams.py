"""Text to hashed n-grams: the preprocessing of `crates/luthier-model`, written a second time.

A bundle's graph takes rows of a table and their weights, not text. To run the graph in another
engine, this module turns text into both, from the manifest and `features.idx` alone. It follows
`ngrams.rs` and `index.rs` step by step; that two writings agree is part of what is checked.

Python knows no property "alphabetic" for combining marks, so texts in scripts that use them as
letters (Devanagari, Thai, ...) may differ; Latin, Greek, Cyrillic, Han, Kana and Hangul do not.
"""

import math
import unicodedata

import numpy as np

MASK = (1 << 64) - 1
MAX_WORDS = 3
MIN_CHARS = 2
# Eight groups: words of 1 to 3, characters of 2 to 6.
GROUP_BITS = 3
# Scripts written without spaces: each letter is a word of its own.
STAND_ALONE = [
    (0x2E80, 0x2FDF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7AF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
]


class NgramText:
    """The preprocessing of one bundle."""

    def __init__(self, form, index):
        """`form` is `preprocess` of the manifest, `index` the bytes of `features.idx`."""
        if form["kind"] != "ngram-text" or form["format"] != 1:
            raise ValueError(f"unknown preprocessing {form['kind']} {form['format']}")
        self.words, self.chars, self.hash_bits = form["words"], form["chars"], form["hash_bits"]
        buckets = read_index(index, self.hash_bits)
        self.rows = {bucket: row for row, bucket in enumerate(buckets)}
        if len(self.rows) != form["features"]:
            raise ValueError(f"{len(self.rows)} features, the manifest says {form['features']}")

    def features(self, text):
        """The distinct rows of a text, ascending."""
        hashes = ngram_hashes(text, self.words, self.chars)
        buckets = {bucket(hash_, group, self.hash_bits) for group, hash_ in hashes}
        return sorted(self.rows[b] for b in buckets if b in self.rows)

    def tensors(self, texts):
        """Ids and weights of a batch, padded with row 0 of weight 0."""
        features = [self.features(text) for text in texts]
        width = max(1, max(map(len, features)))
        ids = np.zeros((len(texts), width), np.int32)
        weights = np.zeros((len(texts), width), np.float32)
        for line, rows in enumerate(features):
            ids[line, : len(rows)] = rows
            weights[line, : len(rows)] = 1 / math.sqrt(max(1, len(rows)))
        return ids, weights


def read_index(data, hash_bits):
    """The buckets in an index: for each group their number and the gaps between them."""
    bits = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}"
    size = 1 << (hash_bits - GROUP_BITS)
    end = 0
    for group in range(1 << GROUP_BITS):
        start, one = end, bits.index("1", end)
        end = one + 1 + (one - start)
        count = int(bits[one:end], 2) - 1
        k = rice_parameter(count, size)
        following = group * size
        for _ in range(count):
            start, one = end, bits.index("1", end)
            end = one + 1 + k
            # The remainder is read with the 1 before it, which adds one to the quotient.
            gap = (one - start - 1 << k) + int(bits[one:end], 2)
            yield following + gap
            following += gap + 1
    if not 0 <= len(bits) - end < 8 or "1" in bits[end:]:
        raise ValueError("the feature index does not end with its last entry")


def rice_parameter(count, size):
    """Bits of the remainder of each gap in a group that has `count` of `size` buckets."""
    share, k = 1 - count / size, 0
    while count > 0 and share > 0.618:
        share, k = share * share, k + 1
    return k


def ngram_hashes(text, words, chars):
    """Group number and hash of each n-gram, repeats included."""
    folded = fold(text)
    if words > 0:
        hashes = word_hashes(folded)
        for start in range(len(hashes)):
            hash_ = 0
            for n, word in enumerate(hashes[start : start + words]):
                hash_ = mix(hash_ ^ word)
                yield n, hash_
    if chars >= MIN_CHARS:
        for start in range(len(folded)):
            hash_ = 0
            for n, char in enumerate(folded[start : start + chars], 1):
                hash_ = step(hash_, char)
                if n >= MIN_CHARS:
                    yield MAX_WORDS + n - MIN_CHARS, hash_


def fold(text):
    """Lower case, full-width ASCII to ASCII, runs of blanks to one space, a space at each end."""
    folded = [" "]
    for char in text + " ":
        if "\uff01" <= char <= "\uff5e":
            char = chr(ord(char) - 0xFEE0)
        for low in char.lower():
            blank = low.isspace() or unicodedata.category(low) == "Cc"
            if not blank:
                folded.append(low)
            elif folded[-1] != " ":
                folded.append(" ")
    return folded


def word_hashes(folded):
    """Runs of letters, digits and inner apostrophes; other visible characters alone."""
    words, run = [], None
    for position, char in enumerate(folded):
        inner = char == "'" and run is not None and folded[position + 1].isalnum()
        if inner or (char.isalnum() and not stands_alone(char)):
            run = step(run or 0, char)
            continue
        if run is not None:
            words.append(run)
            run = None
        if char != " ":
            words.append(step(0, char))
    return words


def stands_alone(char):
    return any(low <= ord(char) <= high for low, high in STAND_ALONE)


def step(hash_, char):
    """Adds a character to a running hash."""
    hash_ = ((hash_ ^ ord(char) ^ 0x51_7C_C1_B7) * 0x9E37_79B9_7F4A_7C15) & MASK
    return (hash_ << 23 | hash_ >> 41) & MASK


def mix(hash_):
    """The finaliser of SplitMix64."""
    hash_ = ((hash_ ^ hash_ >> 30) * 0xBF58_476D_1CE4_E5B9) & MASK
    hash_ = ((hash_ ^ hash_ >> 27) * 0x94D0_49BB_1331_11EB) & MASK
    return hash_ ^ hash_ >> 31


def bucket(hash_, group, bits):
    """The bucket within the group in the lower bits, the group in the three above them."""
    return group << (bits - GROUP_BITS) | mix(hash_) >> (64 - bits + GROUP_BITS)
