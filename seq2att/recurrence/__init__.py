"""The recurrent kernel: one layer, one direction, a whole sequence, for tanh and relu RNN, LSTM and GRU."""

from seq2att.recurrence.choice import is_exact
from seq2att.recurrence.dropout import Draws, Dropout
from seq2att.recurrence.layer import Layer
from seq2att.recurrence.layer_function import run
from seq2att.recurrence.product import Dense
from seq2att.recurrence.reference import GATES, STATES, CellName, Weights
from seq2att.recurrence.stack import Stack

__all__ = ["GATES", "STATES", "CellName", "Dense", "Draws", "Dropout", "Layer", "Stack", "Weights", "is_exact", "run"]
