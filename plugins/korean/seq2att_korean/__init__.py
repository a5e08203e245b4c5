"""Korean for seq2att: text as morphemes, cut by Kiwi or by Okt, and the corpora that Korpora fetches.

`영화가 재미있었어요` becomes `영화 가 재미있 었 어요`: noun, particle, stem, past tense, ending.
"""

from seq2att_korean.kiwi import KoreanTokenizer
from seq2att_korean.korpora import KorporaReader
from seq2att_korean.okt import OktTokenizer

__all__ = ["KoreanTokenizer", "KorporaReader", "OktTokenizer"]
