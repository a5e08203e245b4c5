"""Pictures: learning curves, attention, confusion of classes, predicted against true numbers; in a file or as text."""

from seq2att.drawing.attention import HEAT, SHADES, attention_map, attention_text
from seq2att.drawing.classes import class_table, confusion_matrix
from seq2att.drawing.details import CONFUSION, SCATTER, details_table, draw_details
from seq2att.drawing.figure import PREFERRED, by_preference, new_figure, save, token_font
from seq2att.drawing.points import scatter
from seq2att.drawing.run import Table, axis_of, best_place, curves, number, read_table
from seq2att.drawing.terminal import cut, display_width, pad, visible

__all__ = [
    "CONFUSION",
    "HEAT",
    "PREFERRED",
    "SCATTER",
    "SHADES",
    "Table",
    "attention_map",
    "attention_text",
    "axis_of",
    "best_place",
    "by_preference",
    "class_table",
    "confusion_matrix",
    "curves",
    "cut",
    "details_table",
    "display_width",
    "draw_details",
    "new_figure",
    "number",
    "pad",
    "read_table",
    "save",
    "scatter",
    "token_font",
    "visible",
]
