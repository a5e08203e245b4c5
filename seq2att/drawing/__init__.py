"""Pictures: learning curves, attention, confusion of classes, predicted against true numbers; in a file or as text."""

from seq2att.drawing.attention import attention_map, attention_text
from seq2att.drawing.evaluation import CONFUSION, SCATTER, SERIES_PLOT, details_table, draw_details
from seq2att.drawing.learning import curves

__all__ = [
    "CONFUSION",
    "SCATTER",
    "SERIES_PLOT",
    "attention_map",
    "attention_text",
    "curves",
    "details_table",
    "draw_details",
]
