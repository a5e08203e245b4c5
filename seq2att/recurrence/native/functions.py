"""Every native function and its arguments, field by field as in the C++ headers in this folder.

The first two texts of a struct name its integers and its sizes.
"""

from __future__ import annotations

from seq2att.recurrence.native.gate import Array, Function, Null, Records, Struct
from seq2att.recurrence.reference import CellName

CELLS: dict[CellName, int] = {"tanh": 0, "relu": 1, "lstm": 2, "gru": 3}
"""`Cell` of cell.h."""
SCORES = {"none": 0, "dot": 1, "additive": 2}
"""`Score` of attend.h."""
ADD, TANH = 1, 2
"""`Mode` of inference.h."""


def numbers(*sizes: str) -> Array:
    """A tensor of the type of the call."""
    return Array("T", *sizes)


def optional(*sizes: str) -> Array:
    """The same, or None."""
    return Array("T", *sizes, optional=True)


def rows(*sizes: str) -> Array:
    """The same with gaps between its rows."""
    return Array("T", *sizes, strides="rows")


# product.h: a large product.
PRODUCT = Function(
    "product",
    Struct(
        "",
        "rows columns inputs",
        a=Array("T", "rows", "inputs", strides="both"),
        b=Array("T", "columns", "inputs", strides="both"),
        bias=optional("columns"),
        c=numbers("rows", "columns"),
    ),
)

# softmax.h: logits, which become the gradient of their cross-entropy.
CROSS_ENTROPY = Function(
    "cross_entropy",
    Struct(
        "",
        "rows size marks",
        "uniform",
        logits=numbers("rows", "size"),
        targets=Array("int64", "rows", "marks"),
        weights=numbers("rows", "marks"),
        column_sums=numbers("size"),
        total=Array("float64"),
        correct=Array("int64"),
    ),
)

# layer.h: one recurrent layer over packed rows, in the forward or the `backward` pass.
LAYER = Function(
    "layer",
    Struct(
        "cell backwards backward",
        "steps rows total size width",
        sizes=Array("int64", "steps"),
        weight=numbers("width", "size"),
        new_bias=optional("size"),
        gates=numbers("total", "width"),
        hidden=numbers("rows", "size"),
        memory=optional("rows", "size"),
        outputs=numbers("total", "size"),
        previous=optional("total", "size"),
        extra=optional("total", "size"),
        d_projected=optional("total", "width"),
    ),
)

# feedback.h: the loop of a decoder with feedback, in the forward or the `backward` pass.
LEVEL = Struct(
    hidden_weight=numbers("width", "size"),
    below_weight=optional("width", "size"),
    new_bias=optional("size"),
    mask=optional("total", "size"),
    gates=numbers("total", "width"),
    outputs=numbers("total", "size"),
    previous=optional("total", "size"),
    extra=optional("total", "size"),
    below=optional("total", "size"),
    hidden=numbers("rows", "size"),
    memory=optional("rows", "size"),
    d_projected=optional("total", "width"),
)
FEEDBACK = Function(
    "feedback",
    Struct(
        "cell query_first residual score backward",
        "steps rows total size width layers fed_size source key_size value_size",
        sizes=Array("int64", "steps"),
        levels=Records(LEVEL, "layers"),
        fed_weight=optional("width", "fed_size"),
        context_weight=optional("width", "value_size"),
        readout_top=optional("fed_size", "size"),
        readout_context=optional("fed_size", "value_size"),
        out_mask=optional("total", "fed_size"),
        keys=optional("rows", "source", "key_size"),
        values=optional("rows", "source", "value_size"),
        query_weight=optional("key_size", "size"),
        energy=optional("key_size"),
        padding=Array("bool", "rows", "source", optional=True),
        top=numbers("total", "size"),
        readout=optional("total", "fed_size"),
        out=optional("total", "fed_size"),
        fed=optional("rows", "fed_size"),
        query=optional("total", "key_size"),
        weights=optional("total", "source"),
        context=optional("total", "value_size"),
        d_top=optional("total", "size"),
        d_weights=optional("total", "source"),
        d_out=optional("total", "fed_size"),
        d_fed=optional("rows", "fed_size"),
        d_context=optional("total", "value_size"),
        d_scores=optional("total", "source"),
        d_query=optional("total", "key_size"),
        d_energy=optional("total", "key_size"),
        d_keys=optional("rows", "source", "key_size"),
    ),
)

# packed.cpp: a matrix brought into the order in which products read it.
PACK = Function(
    "pack",
    Struct(
        "",
        "outputs inputs room",
        weight=numbers("outputs", "inputs"),
        packed=numbers("room"),
    ),
)
PACK_INT8 = Function(
    "pack_i8",
    Struct(
        "",
        "outputs inputs room",
        weight=Array("int8", "outputs", "inputs"),
        packed=Array("uint8", "room"),
    ),
)

# inference.h: packed matrices, and what a step of decoding is made of.
MATRIX = Struct("outputs inputs", "room", packed=numbers("room"), scales=Null(), bias=optional("outputs"))
MATRIX_INT8 = Struct(
    "outputs inputs",
    "room",
    packed=Array("uint8", "room"),
    scales=numbers("outputs"),
    bias=optional("outputs"),
)
PACKED_PRODUCT = Function(
    "inference_product",
    Struct("mode", "rows", x=rows("rows", "inputs"), y=rows("rows", "outputs")),
    after=(MATRIX, MATRIX_INT8),
)
RECURRENCE = Function(
    "inference_recur",
    Struct(
        "cell backwards",
        "rows steps",
        lengths=Array("int64", "rows", optional=True),
        new_bias=optional("inputs"),
        gates=numbers("rows", "steps", "outputs"),
        hidden=rows("rows", "inputs"),
        memory=optional("rows", "inputs"),
        states=optional("rows", "steps", "inputs"),
    ),
    after=(MATRIX, MATRIX_INT8),
)
MEMORY = Struct(
    "score",
    "sentences source key_size value_size",
    energy=optional("key_size"),
    keys=numbers("sentences", "source", "key_size"),
    values=numbers("sentences", "source", "value_size"),
    padding=Array("bool", "sentences", "source"),
)
ATTEND = Function(
    "inference_attend",
    Struct(
        "",
        "rows",
        which=Array("int64", "rows"),
        query=rows("rows", "key_size"),
        context=rows("rows", "value_size"),
        weights=numbers("rows", "source"),
    ),
    after=(MEMORY,),
)
LOG_SOFTMAX = Function("inference_log_softmax", Struct("", "rows size", values=numbers("rows", "size")))
BEST = Function(
    "inference_best",
    Struct(
        "",
        "batch width rows size count",
        values=numbers("rows", "size"),
        starts=numbers("batch", "width"),
        found=numbers("batch", "count"),
        index=Array("int64", "batch", "count"),
    ),
)
