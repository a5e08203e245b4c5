"""Small clean corpora that are made up, and a defect of each kind to plant in them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

Files = dict[str, list[str]]
"""The lines of each file, without line ends."""

RECIPES = {
    "pairs": """
defaults:
  - config
  - override reader: parallel
  - override source/tokenizer: char
  - override target/tokenizer: char
  - _self_
reader: {train: train, validation: dev, test: test, source: de, target: en}
""",
    "classes": """
defaults:
  - config
  - override head: classification
  - override target: label
  - override source/tokenizer: word
  - override attention: additive
  - override reader: csv
  - _self_
reader: {train: train.csv, validation: dev.csv, test: test.csv, source: text, target: label}
""",
    "table": """
defaults:
  - config
  - override head: classification
  - override target: label
  - override source/tokenizer: word
  - override attention: additive
  - override reader: tsv
  - _self_
reader: {train: train.tsv, validation: dev.tsv, test: test.tsv}
""",
    "tags": """
defaults:
  - config
  - override head: tagging
  - override target: tags
  - override source/tokenizer: word
  - override reader: conll
  - _self_
reader: {train: train.conll, validation: dev.conll, test: test.conll}
""",
    "spaced": """
defaults:
  - config
  - override head: tagging
  - override target: tags
  - override source/tokenizer: word
  - override reader: tsv
  - _self_
reader: {train: train.tsv, validation: dev.tsv, test: test.tsv}
""",
    "numbers": """
defaults:
  - config
  - override head: regression
  - override source: vector
  - override target: number
  - override reader: tsv
  - _self_
reader: {train: train.tsv, validation: dev.tsv, test: test.tsv}
""",
    "objects": """
defaults:
  - config
  - override reader: jsonl
  - override source/tokenizer: char
  - override target/tokenizer: char
  - _self_
reader: {train: train.jsonl, validation: dev.jsonl, test: test.jsonl}
""",
}
SIZES = {"train": 400, "dev": 80, "test": 80}
GERMAN = """der hund läuft schnell durch den grünen wald und sieht zwei katzen auf einer mauer während die kinder im
garten spielen ein mann trägt schwere kisten zum haus frauen kaufen frisches brot wir möchten heute nicht
arbeiten""".split()
ENGLISH = """the dog runs quickly through a green forest and sees two cats on some wall while these children in garden
play one man carries heavy boxes to house women buy fresh bread we want today not working""".split()
GOOD = "superb lovely charming bright clever moving funny honest warm fresh".split()
BAD = "dull awful boring weak clumsy empty loud stupid cold stale".split()
REST = "film plot actor scene music story ending script camera dialogue part moment joke song".split()
PLACES, PEOPLE = "Paris Rome Oslo Madrid Vienna Prague".split(), "Anna Peter Maria Thomas Laura Martin".split()
VERBS = "visits likes leaves knows reaches loves".split()


def sentence_pair(draw: random.Random) -> tuple[str, str]:
    """Two texts of as many words, of which each translates the other."""
    numbers = [draw.randrange(len(ENGLISH)) for _ in range(draw.randint(4, 18))]
    end = draw.choice(".?.!")
    number = f" {draw.randint(10, 999)}" if draw.random() < 0.3 else ""
    comma = ", " if draw.random() < 0.3 else " "
    texts = []
    for words in (GERMAN, ENGLISH):
        text = " ".join(words[index] for index in numbers[:3]) + comma + " ".join(words[i] for i in numbers[3:])
        texts.append(text[0].upper() + text[1:] + number + end)
    return texts[0], texts[1]


def review(draw: random.Random) -> tuple[str, str]:
    """A text with an opinion, and which one."""
    label, words = draw.choice((("pos", GOOD), ("neg", BAD)))
    return " ".join(f"the {draw.choice(REST)} is {draw.choice(words)}" for _ in range(draw.randint(2, 5))), label


def tagged(draw: random.Random) -> tuple[list[str], list[str]]:
    """The words of a sentence, and the tags."""
    words, tags = [draw.choice(PEOPLE)], ["B-PER"]
    if draw.random() < 0.5:
        words, tags = [*words, f"{draw.choice(PLACES)}son"], [*tags, "I-PER"]
    for _ in range(draw.randint(1, 4)):
        words += [draw.choice(VERBS), draw.choice(REST), "in", draw.choice(PLACES)]
        tags += ["O", "O", "O", "B-LOC"]
    return words, tags


def measured(draw: random.Random) -> tuple[str, str]:
    """Three numbers, and their sum."""
    numbers = [round(draw.gauss(0, 1), 3) for _ in range(3)]
    return " ".join(map(str, numbers)), f"{sum(numbers):.3f}"


def make(corpus: str, seed: int = 1) -> Files:
    """The files of a clean corpus; no source is in two splits."""
    import json

    draw, seen = random.Random(seed), set()
    files: Files = {}
    makers: dict[str, Callable[[random.Random], tuple[object, object]]] = {
        "pairs": sentence_pair,
        "objects": sentence_pair,
        "classes": review,
        "table": review,
        "tags": tagged,
        "spaced": tagged,
        "numbers": measured,
    }
    for split, size in SIZES.items():
        rows = []
        while len(rows) < size:
            row = makers[corpus](draw)
            if str(row[0]) not in seen:
                seen.add(str(row[0]))
                rows.append(row)
        if corpus == "pairs":
            files[f"{split}.de"], files[f"{split}.en"] = ([str(row[side]) for row in rows] for side in (0, 1))
        elif corpus == "classes":
            files[f"{split}.csv"] = ["text,label", *(f"{source},{target}" for source, target in rows)]
        elif corpus == "objects":
            texts = [json.dumps({"source": one, "target": two}, ensure_ascii=False) for one, two in rows]
            files[f"{split}.jsonl"] = texts
        elif corpus == "tags":
            lines = [[f"{word} {tag}" for word, tag in zip(*row, strict=True)] for row in rows]  # type: ignore[call-overload]
            files[f"{split}.conll"] = [line for sentence in lines for line in (*sentence, "")]
        else:
            join = (lambda side: " ".join(side)) if corpus == "spaced" else str
            files[f"{split}.tsv"] = [f"{join(source)}\t{join(target)}" for source, target in rows]  # type: ignore[arg-type]
    return files


def write(files: Files, folder: Path) -> None:
    """Write the files; what stands for a byte that is no text becomes that byte."""
    for name, lines in files.items():
        text = "".join(f"{line}\n" for line in lines)
        (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))


class Plant(NamedTuple):
    """A defect to plant."""

    defect: str
    corpus: str
    plant: Callable[[Files], str]  # changes the files; returns the place, `file:line` or a file
    settings: tuple[str, ...] = ()
    name: str = ""  # where a defect is planted in several ways


def edit(name: str, line: int, change: Callable[[str], str]) -> Callable[[Files], str]:
    """Change one line of a file."""

    def plant(files: Files) -> str:
        files[name][line - 1] = change(files[name][line - 1])
        return f"{name}:{line}"

    return plant


def put(name: str, line: int, text: str) -> Callable[[Files], str]:
    """Write one line anew."""
    return edit(name, line, lambda _: text)


def several(name: str, lines: range, change: Callable[[str, int], str], place: int = 0) -> Callable[[Files], str]:
    """Change several lines of a file; the first of them, or another, is the place."""

    def plant(files: Files) -> str:
        for line in lines:
            files[name][line - 1] = change(files[name][line - 1], line)
        return f"{name}:{place or lines[0]}"

    return plant


def copied(one: str, start: int, other: str, line: int) -> Callable[[Files], str]:
    """Have a line of a file in another file, too."""

    def plant(files: Files) -> str:
        files[other][line - 1] = files[one][start - 1]
        if one.endswith(".de"):
            files[other[:-2] + "en"][line - 1] = files[one[:-2] + "en"][start - 1]
        return f"{other}:{line}"

    return plant


def inserted(name: str, line: int, text: str) -> Callable[[Files], str]:
    """Insert a line."""

    def plant(files: Files) -> str:
        files[name].insert(line - 1, text)
        return f"{name}:{line}"

    return plant


def shifted(files: Files) -> str:
    """Lose a line of one side, and the last one of the other."""
    del files["train.en"][200]
    del files["train.de"][-1]
    return "train.de:~201"


def swapped(files: Files) -> str:
    """Swap the sides of some rows."""
    for row in range(100, 105):
        files["train.de"][row], files["train.en"][row] = files["train.en"][row], files["train.de"][row]
    return "train.de:101"


def unclosed(files: Files) -> str:
    """Open a quote in one row, and close it three rows later."""
    lines = files["train.csv"]
    text, _, name = lines[62].rpartition(",")
    lines[59], lines[62] = f'"{lines[59]}', f'{text}",{name}'
    return "train.csv:60"


def whole(plant: Callable[[Files], str]) -> Callable[[Files], str]:
    """Plant a defect of a file as a whole; the place is the file."""
    return lambda files: plant(files).partition(":")[0]


def shortened(files: Files) -> str:
    """Lose the last lines of a side."""
    del files["train.en"][-5:]
    return "train.de:396"


def label(name: str) -> Callable[[str], str]:
    """A function that gives a row of a CSV file another label."""
    return lambda line: f"{line.rpartition(',')[0]},{name}"


def labelled(line: str, name: str) -> str:
    """A row of a CSV file with another label."""
    return label(name)(line)


def number(text: str) -> Callable[[str], str]:
    """A function that gives a row of numbers another target."""
    return lambda line: f"{line.partition(chr(9))[0]}\t{text}"


def sized(name: str, rows: int) -> Callable[[Files], str]:
    """Keep the first rows of a split only."""

    def plant(files: Files) -> str:
        for file in files:
            if file.startswith(name):
                del files[file][rows:]
        return f"{name}"

    return plant


def large(files: Files) -> str:
    """Training and test swapped."""
    files["train.de"], files["test.de"] = files["test.de"], files["train.de"]
    files["train.en"], files["test.en"] = files["test.en"], files["train.en"]
    return "test"


def many(files: Files) -> str:
    """A training large enough for a larger test."""
    rows = [measured(random.Random(seed)) for seed in range(1200)]
    files["train.tsv"] += [f"{one}\t{two}" for one, two in rows]
    del files["test.tsv"][20:]
    return "test.tsv:1"


def words(text: str, change: Callable[[str], str], index: int = 2) -> str:
    """A text with one word changed."""
    parts = text.split(" ")
    parts[index] = change(parts[index])
    return " ".join(parts)


def inside(sign: str) -> Callable[[str], str]:
    """A function that puts a character into the second word."""
    return lambda line: words(line, lambda word: f"{word[:1]}{sign}{word[1:]}", 1)


def decomposed(text: str) -> str:
    """The letters with their accents apart."""
    import unicodedata

    return unicodedata.normalize("NFD", f"{text[:-1]} läuft{text[-1]}")


def conll_tag(name: str, line: int, change: Callable[[str], str]) -> Callable[[Files], str]:
    """Change the tag of the first line from there on that has one of a person; the place is that of its sentence."""

    def plant(files: Files) -> str:
        lines = files[name]
        index = next(i for i in range(line, len(lines)) if lines[i].endswith(" B-PER"))
        word, tag = lines[index].split(" ")
        lines[index] = f"{word} {change(tag)}"
        return f"{name}:{index + 1}"

    return plant


PLANTS = (
    # -- files
    Plant("unequal-lines", "pairs", shortened),
    Plant("undecodable-bytes", "pairs", edit("train.de", 33, lambda line: line[:9] + "\udce4" + line[9:])),
    Plant("undecodable-bytes", "classes", edit("train.csv", 33, lambda line: "\udce4" + line), name="csv"),
    Plant("extra-column", "classes", edit("train.csv", 41, lambda line: f"{line},pos"), name="third column"),
    Plant("extra-column", "classes", edit("dev.csv", 12, lambda line: f"well, {line}"), name="comma in the text"),
    Plant("missing-column", "table", edit("train.tsv", 17, lambda line: line.partition("\t")[0])),
    Plant("missing-column", "tags", edit("train.conll", 4, lambda line: line.partition(" ")[0]), name="no tag"),
    Plant("broken-quotes", "classes", edit("train.csv", 50, lambda line: f'"well" {line}')),
    Plant("broken-quotes", "classes", edit("train.csv", 50, lambda line: f'"{line}'), name="not closed"),
    Plant("malformed-row", "objects", put("train.jsonl", 21, '{"source": "ein hund", ')),
    Plant("missing-column", "objects", put("train.jsonl", 21, '{"source": "ein hund"}'), name="key"),
    Plant("doubled-column", "classes", several("train.csv", range(1, 2), lambda *_: "text,label,label"), name=""),
    Plant(
        "unused-column",
        "classes",
        several("train.csv", range(1, 402), lambda line, n: f"{line},{'id' if n == 1 else n}"),
    ),
    Plant("swallowed-lines", "classes", unclosed),
    Plant(
        "literal-quotes", "table", several("train.tsv", range(1, 401), lambda line, _: '"' + line.replace("\t", '"\t'))
    ),
    Plant("header-as-row", "table", inserted("train.tsv", 1, "text\tlabel")),
    Plant("header-as-row", "numbers", inserted("train.tsv", 1, "inputs\tsum"), name="numbers"),
    Plant("repeated-header", "classes", inserted("train.csv", 200, "text,label")),
    # -- values
    Plant("empty-side", "pairs", put("train.en", 14, "")),
    Plant("empty-side", "classes", edit("train.csv", 14, label("")), name="label"),
    Plant("blank-text", "pairs", put("train.de", 15, "  \t ")),
    Plant("missing-marker", "classes", several("train.csv", range(90, 120), lambda line, _: labelled(line, "NA"))),
    Plant("missing-marker", "pairs", put("train.en", 77, "NULL"), name="text"),
    Plant("missing-marker", "numbers", edit("train.tsv", 9, number("nan")), name="number"),
    Plant("overlong-row", "classes", edit("train.csv", 88, lambda line: "very " * 60 + line), ("data.max_length=40",)),
    Plant("long-word", "pairs", edit("train.de", 61, lambda line: words(line, lambda word: word + 300 * "x"))),
    # -- characters
    Plant("nul-character", "pairs", edit("train.de", 5, inside("\0"))),
    Plant("control-character", "pairs", edit("train.de", 5, inside("\x07"))),
    Plant("windows-character", "pairs", edit("train.de", 5, inside("\x96"))),
    Plant("byte-order-mark", "pairs", edit("train.de", 5, inside("\ufeff"))),
    Plant("invisible-character", "pairs", edit("train.de", 5, inside("\u200b"))),
    Plant("invisible-character", "pairs", edit("train.en", 6, inside("\u200d")), name="joiner"),
    Plant("direction-mark", "pairs", edit("train.de", 5, inside("\u202e"))),
    Plant("odd-space", "pairs", edit("train.de", 5, lambda line: line.replace(" ", "\u00a0", 1))),
    Plant("odd-space", "pairs", edit("train.de", 5, lambda line: line.replace(" ", "\u3000", 1)), name="ideographic"),
    Plant("extra-space", "pairs", edit("train.de", 5, lambda line: line.replace(" ", "  ", 1))),
    Plant("extra-space", "pairs", edit("train.de", 5, lambda line: f"{line} "), name="trailing"),
    Plant("replacement-character", "pairs", edit("train.de", 5, inside("\ufffd"))),
    Plant("lone-surrogate", "objects", edit("train.jsonl", 5, lambda line: line.replace('": "', '": "\\ud800', 1))),
    Plant("private-character", "pairs", edit("train.de", 5, inside("\uf0b7"))),
    Plant("mixed-normal-forms", "pairs", edit("train.de", 5, decomposed)),
    Plant("mojibake", "pairs", edit("train.de", 5, lambda line: f"Das ist schÃ¶n, {line}")),
    Plant("mojibake", "pairs", edit("train.en", 5, lambda line: f"It â€™s so, {line}"), name="cp1252"),
    Plant("html-entity", "pairs", edit("train.de", 5, inside("&amp;"))),
    Plant("html-tag", "pairs", edit("train.de", 5, lambda line: f"<b>{line}</b>")),
    Plant("backslash-escape", "pairs", edit("train.de", 5, inside("\\u00e9"))),
    Plant("look-alike-letter", "pairs", edit("train.en", 5, inside("а"))),
    Plant("wrong-script", "pairs", put("train.en", 5, "Собака быстро бежит через зелёный лес.")),
    # -- pairs
    Plant("shifted-pairs", "pairs", shifted),
    Plant("swapped-columns", "pairs", swapped),
    Plant(
        "swapped-columns", "classes", edit("train.csv", 30, lambda line: ",".join(line.split(",")[::-1])), name="csv"
    ),
    Plant("wrong-language", "pairs", put("train.en", 5, "Frauen kaufen frisches brot und kinder spielen im garten.")),
    Plant("copied-source", "pairs", lambda f: f["train.en"].__setitem__(4, f["train.de"][4]) or "train.de:5"),  # type: ignore[func-returns-value]
    Plant("length-ratio", "pairs", lambda f: put("train.en", 5, "Dog.")(f) and "train.de:5"),
    Plant("repeated-target", "pairs", several("train.en", range(40, 60), lambda *_: "We want today not working.")),
    Plant("repeated-source", "pairs", several("train.de", range(40, 60), lambda *_: "Wir möchten heute arbeiten.")),
    Plant("missing-numbers", "pairs", lambda f: edit("train.de", 5, lambda line: f"{line} 4711")(f)),
    Plant("duplicate-row", "pairs", copied("train.de", 20, "train.de", 300)),
    # -- labels
    Plant("look-alike-labels", "classes", edit("train.csv", 30, label("POS")), name="case"),
    Plant("look-alike-labels", "classes", edit("train.csv", 30, label("p\u200bos")), name="invisible"),
    Plant("look-alike-labels", "classes", edit("train.csv", 30, label("ｐｏｓ")), name="width"),
    Plant("rare-class", "classes", edit("train.csv", 30, label("neutral"))),
    Plant("unseen-label", "classes", edit("test.csv", 30, label("neutral"))),
    Plant(
        "absent-class",
        "classes",
        lambda f: several("train.csv", range(100, 160), lambda line, _: labelled(line, "so"))(f) and "dev.csv",
    ),
    Plant("single-class", "classes", whole(several("train.csv", range(2, 402), lambda line, _: labelled(line, "pos")))),
    Plant(
        "unbalanced-classes",
        "classes",
        whole(several("train.csv", range(2, 395), lambda line, _: labelled(line, "pos"))),
    ),
    Plant(
        "too-many-classes",
        "classes",
        whole(several("train.csv", range(2, 402), lambda line, n: labelled(line, f"c{n}"))),
    ),
    Plant(
        "different-classes", "classes", whole(several("test.csv", range(2, 82), lambda line, _: labelled(line, "pos")))
    ),
    Plant(
        "sorted-classes",
        "table",
        lambda f: f["train.tsv"].sort(key=lambda line: line.partition("\t")[2]) or "train.tsv",  # type: ignore[func-returns-value]
        ("reader.validation=null", "data.split=end"),
    ),
    Plant(
        "conflicting-labels",
        "classes",
        lambda f: (
            inserted(
                "train.csv", 31, label("pos" if f["train.csv"][29].endswith("neg") else "neg")(f["train.csv"][29])
            )(f)
            and "train.csv:30"
        ),
    ),
    # -- tags
    Plant("tag-count", "spaced", edit("train.tsv", 8, lambda line: f"{line} O")),
    Plant("broken-span", "tags", conll_tag("train.conll", 50, lambda _: "I-PER")),
    Plant("odd-tag", "tags", conll_tag("train.conll", 50, lambda _: "PERSON")),
    Plant("look-alike-labels", "tags", conll_tag("train.conll", 50, lambda _: "b-per"), name="tag"),
    Plant("unseen-tag", "tags", conll_tag("test.conll", 50, lambda _: "B-ORG")),
    # -- numbers
    Plant("not-a-number", "numbers", edit("train.tsv", 9, number("unclear words here"))),
    Plant("number-format", "numbers", edit("train.tsv", 9, number("1,234")), name="comma"),
    Plant("number-format", "numbers", edit("train.tsv", 9, number("12 kg")), name="unit"),
    Plant("infinite-number", "numbers", edit("train.tsv", 9, number("inf"))),
    Plant("vector-width", "numbers", edit("train.tsv", 9, lambda line: f"1.5 {line}")),
    Plant("constant-number", "numbers", several("train.tsv", range(1, 401), lambda line, _: number("1.0")(line))),
    Plant("number-outlier", "numbers", edit("train.tsv", 9, number("9999"))),
    # -- splits
    Plant("leaked-row", "pairs", copied("train.de", 20, "test.de", 7)),
    Plant("leaked-row", "classes", copied("train.csv", 20, "dev.csv", 7), name="classes"),
    Plant("nearly-leaked-row", "table", lambda f: put("test.tsv", 7, f["train.tsv"][19].upper())(f)),
    Plant("unseen-characters", "pairs", edit("test.en", 5, lambda line: f"{line} §")),
    Plant(
        "unseen-words",
        "table",
        several("test.tsv", range(1, 81), lambda line, _: line.replace("the ", "een ").replace(" is ", " zijn ")),
    ),
    Plant("small-split", "numbers", many),
    Plant("large-split", "pairs", large),
)
