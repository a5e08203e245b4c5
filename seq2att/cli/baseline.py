"""`seq2att baseline`: what counting makes of the data of a run, beside its neural model."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from seq2att.cli.model import Commands, add_model, add_parser, add_split, load_options, plugins, positive
from seq2att.cli.text import put, standard_output, to_json, typed

if TYPE_CHECKING:
    from seq2att.api.baseline import CountedModel, Factor

EXAMPLES = """examples:
  seq2att baseline runs/next_character --text "a stone" --order 3
  seq2att baseline runs/next_character --split validation

Of a language model the n-grams of the training rows are counted. With --text, a line for each token w of the text: how
often training has w after the tokens h before it, and how often h; p(w | h) unsmoothed, with add-k and with Kneser-Ney
smoothing; `seen`, the length of the longest n-gram of training that ends with w; and p by the run's model, which reads
all tokens before. Their products are the probability of the text. Without --text, how well each predicts a split.

--json prints the same for programs, with what each order of Kneser-Ney says. Counting reads the training data: of a
model of somebody else it needs --root DIR or --trust-data.

Of a classifier of texts: a linear model of n-grams (logistic regression, which needs scikit-learn) beside the run's."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "baseline", "compare a model with counted n-grams, or a linear classifier", EXAMPLES)
    add_model(parser)
    parser.add_argument(
        "--text", type=typed("--text"), metavar="TEXT", help="show each factor of the probability of this text"
    )
    order = "tokens of the longest n-grams; 5 for a language model, 2 for a classifier"
    parser.add_argument("--order", type=positive, metavar="N", help=order)
    parser.add_argument("--add-k", type=float, metavar="K", default=1.0, help="what add-k smoothing adds; 1 by default")
    add_split(parser, "without --text: ")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the factors of a text, or the figures of a split."""
    from seq2att.api.baseline import baseline, count_ngrams

    options = {"order": arguments.order, "root": arguments.root, "plugins": plugins(arguments)}
    options |= {"add_k": arguments.add_k, **load_options(arguments)}
    options = {name: value for name, value in options.items() if value is not None}
    if arguments.text is None:
        result = baseline(arguments.model, split=arguments.split, **options)
        lines = figure_lines(result, arguments)
    else:
        counted = count_ngrams(arguments.model, **options)
        factors = counted.factors(arguments.text)
        result = {"text": arguments.text, "order": counted.counts.order, **described(factors)}
        lines = factor_lines(counted, factors)
    if arguments.json:
        lines = to_json(result, indent=2).splitlines()
    put(standard_output(), lines)


def described(factors: list[Factor]) -> dict[str, Any]:
    """The factors of a text, their products and perplexities, for JSON."""
    from seq2att.api.baseline import products

    return {
        "factors": [factor._asdict() for factor in factors],
        **{
            name: {"log_probability": one.score, "probability": math.exp(one.score), "perplexity": one.perplexity}
            for name, one in products(factors).items()
        },
    }


def factor_lines(counted: CountedModel, factors: list[Factor]) -> list[str]:
    """The factors of a text as a table, with their products."""
    from seq2att.api.baseline import products
    from seq2att.drawing.terminal import table

    counts, scores = counted.counts, products(factors)
    titles = ["unsmoothed", f"add-{counts.add_k:g}", "Kneser-Ney", "neural"]
    rows = [["token", "after", "count", "of", *titles, "seen"]]
    rows += [factor_cells(factor) for factor in factors]
    for title, values in (
        ("product", [math.exp(one.score) for one in scores.values()]),
        ("log", [one.score for one in scores.values()]),
        ("perplexity", [one.perplexity for one in scores.values()]),
    ):
        rows.append([title, "", "", "", *(f"{value:.4g}" for value in values), ""])
    header, *lines = table(rows, left=(0, 1))
    rule = "-" * len(header)
    total = f"{counts.num_tokens:,} tokens in {counts.num_texts:,} text{'s' * (counts.num_texts != 1)}"
    first = f"n-grams up to {counts.order} tokens, counted in {total}; {counts.num_predicted:,} tokens can follow"
    return [first, "", header, rule, *lines[:-3], rule, *lines[-3:]]


def factor_cells(factor: Factor) -> list[str]:
    """One factor as cells of a table."""
    from seq2att.drawing.terminal import visible

    values = (factor.unsmoothed, factor.add_k, factor.kneser_ney, factor.neural)
    history = " ".join(map(visible, factor.history))
    counts = [f"{factor.ngram_count:,}", f"{factor.history_count:,}"]
    return [visible(factor.token), history, *counts, *(f"{value:.4g}" for value in values), str(factor.longest)]


def figure_lines(result: Mapping[str, Any], arguments: argparse.Namespace) -> list[str]:
    """The figures of a split as a table, a line for each model."""
    from seq2att.drawing.terminal import table

    titles = {"unsmoothed": "unsmoothed", "add_k": f"add-{arguments.add_k:g}", "kneser_ney": "Kneser-Ney"}
    models = {titles[name]: one for name, one in result.get("estimates", {}).items()}
    models |= {name: result[name] for name in ("linear", "neural") if name in result}
    columns = list(dict.fromkeys(name for one in models.values() for name in one))
    rows = [["", *columns]]
    rows += [[title, *(f"{one[name]:.4g}" if name in one else "" for name in columns)] for title, one in models.items()]
    if "seen" not in result:
        first = f"n-grams up to {result['order']} tokens; {arguments.split}: {result['rows']:,} rows"
        return [first, "", *table(rows)]
    shares = ", ".join(f"{length}: {share:.1%}" for length, share in enumerate(result["seen"], 1))
    first = f"n-grams up to {result['order']} tokens; {arguments.split}: {result['tokens']:,} tokens"
    return [first, f"n-grams of {arguments.split} that training has, by their length: {shares}", "", *table(rows)]
