"""Corpora in the folders where the package Korpora (https://github.com/ko-nlp/Korpora) keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from seq2att import UserError, register
from seq2att.reader import DataFiles, Tsv


class Layout(NamedTuple):
    """Where the files of a corpus are below the folder of Korpora, and what their columns are called."""

    train: str
    test: str
    source: str
    target: str


LAYOUTS = {"nsmc": Layout("nsmc/ratings_train.txt", "nsmc/ratings_test.txt", "document", "label")}
"""The corpora that can be read, by their names in Korpora."""


@register("reader", "korpora")
class KorporaReader(Tsv):
    """A corpus where Korpora keeps it: `Korpora.fetch("nsmc")` writes `~/Korpora/nsmc/ratings_train.txt`.

    Its rows are those of `Korpora.load("nsmc").train` and `.test`, in order; Korpora itself is not needed. Validation
    is a part of the training rows (`data.validation_fraction`).

    Args:
        corpus: `nsmc`, film reviews with labels 0 (bad) and 1 (good) (Park 2015).
        folder: folder of Korpora (its `root_dir`); `data.root` goes before it.
    """

    def __init__(self, *, corpus: Literal["nsmc"] = "nsmc", folder: str = "~/Korpora") -> None:
        layout = LAYOUTS[corpus]
        columns = {"source": (layout.source,), "target": (layout.target,)}
        super().__init__(train=(layout.train,), test=(layout.test,), header=True, **columns)
        self.corpus, self.folder = corpus, folder

    def find(self, key: str, name: str, root: Path | None) -> list[DataFiles]:
        try:
            return super().find(key, name, Path(self.folder).expanduser() if root is None else root)
        except UserError as error:
            remedy = (
                f"fetch it by `pip install Korpora` and `korpora fetch --corpus {self.corpus}`, or name the folder "
                f"that holds {self.corpus}/ as reader.folder or data.root"
            )
            raise UserError(error.code, error.subject, error.problem, remedy) from error
