"""Pictures: learning curves, attention, confusion of classes, predicted against true numbers; in a file or as text."""

from seq2att.drawing.attention import attention_map, attention_text
from seq2att.drawing.evaluation import CONFUSION, SCATTER, SERIES_PLOT, details_table, draw_details
from seq2att.drawing.learning import curves
from seq2att.drawing.pictures import EXAMPLES, Seen, draw_pictures, draw_strips, region_text

__all__ = [
    "CONFUSION",
    "EXAMPLES",
    "SCATTER",
    "SERIES_PLOT",
    "Seen",
    "attention_map",
    "attention_text",
    "curves",
    "details_table",
    "draw_details",
    "draw_pictures",
    "draw_strips",
    "region_text",
]
