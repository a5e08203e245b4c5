"""Korean morphemes, cut by Okt (Open Korean Text) of konlpy (https://konlpy.org), which runs in Java."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from seq2att import Inherited, UserError, register
from seq2att.registry import suggestion
from seq2att_korean.morphemes import SURROGATES, Morphemes, MorphemeTokenizer

SPEECH = (  # the parts of speech of Okt
    *(
        "Adjective",
        "Adverb",
        "Alpha",
        "CashTag",
        "Conjunction",
        "Determiner",
        "Email",
        "Eomi",
        "Exclamation",
        "Foreign",
    ),
    *("Hashtag", "Josa", "KoreanParticle", "Modifier", "Noun", "Number", "PreEomi", "Punctuation", "ScreenName"),
    *("Suffix", "URL", "Unknown", "Verb", "VerbPrefix"),
)
JAVA_OPTIONS = (
    "-Xrs",  # leaves SIGINT and SIGTERM to Python, which saves a run; Java would end the process
    "-Xmx1024m",  # as konlpy has it
    "-Dfile.encoding=UTF8",
)


@register("tokenizer", "okt")
class OktTokenizer(MorphemeTokenizer):
    """Korean morphemes, by Okt of konlpy, for which Java must be installed; other scripts become words.

    Parts of speech: Noun, Verb, Adjective, Adverb, Josa (particle), Punctuation and others
    (https://konlpy.org/en/latest/api/konlpy.tag/#okt-class).

    Args:
        tags: whether to write the part of speech after each morpheme, as in `영화/Noun`.
        only: parts of speech to keep, as [Noun, Verb, Adjective]; all of them where it is empty.
        stems: whether to write verbs and adjectives as in a dictionary (`재미있다`): `okt.morphs(text, stem=True)`.
        normalize: whether to correct spellings of chats first (`사릉햌ㅋㅋㅋ`, `사랑해ㅋㅋ`): `norm=True`.
    """

    name: ClassVar[str] = "okt"
    library: ClassVar[str] = "konlpy"

    def __init__(
        self,
        *,
        tags: bool = False,
        only: tuple[str, ...] = (),
        stems: bool = False,
        normalize: bool = False,
        **options: Inherited,
    ) -> None:
        super().__init__(tags=tags, only=only, **options)
        self.stems, self.normalize = stems, normalize

    def is_kept(self, speech: str) -> bool:
        return speech in self.only

    def check_only(self, prefix: str) -> None:
        if prefix not in SPEECH:
            problem = "is no part of speech of Okt"
            raise UserError("E-choice", f"tokenizer.only={[prefix]}", problem, suggestion(prefix, SPEECH))

    def analyse(self, texts: Sequence[str]) -> Iterator[Morphemes]:
        """The morphemes of every text with their parts of speech, in order."""
        cut = self.okt().pos
        for text in texts:
            yield tuple(cut(SURROGATES.sub("\ufffd", text), norm=self.normalize, stem=self.stems))

    def okt(self) -> Any:
        """The one Okt of this process."""
        self.version()
        return load_okt()


@functools.cache
def load_okt() -> Any:
    """Okt in a Java virtual machine; raises `E-package` where there is no Java."""
    import jpype
    import konlpy.tag

    if not jpype.isJVMStarted():
        try:
            path = jpype.getDefaultJVMPath()
        except jpype.JVMNotFoundException as error:
            problem, remedy = "needs Java, which is not found", "install a Java runtime, or choose tokenizer=korean"
            raise UserError("E-package", "tokenizer=okt", problem, f"{remedy}, which needs none") from error
        jars = Path(konlpy.__file__).parent / "java"
        classpath = [str(jars), str(jars / "bin"), str(jars / "*")]
        jpype.startJVM(path, *JAVA_OPTIONS, classpath=classpath, convertStrings=True, interrupt=True)
    return konlpy.tag.Okt()
