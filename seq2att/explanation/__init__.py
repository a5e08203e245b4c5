"""Looking inside a model: every step of one answer, as named arrays that equal what `forward` computed."""

from seq2att.explanation.explain import Request, explain, make_request
from seq2att.explanation.result import Explanation, GradientPath, Node, Top

__all__ = ["Explanation", "GradientPath", "Node", "Request", "Top", "explain", "make_request"]
