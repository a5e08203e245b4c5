"""`python -m seq2att_baselines RUN`: measure a baseline on the data of a run; prints JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from seq2att import UserError
from seq2att_baselines import baseline

EXAMPLES = """examples:
  python -m seq2att_baselines runs/ptb_lstm --order 5
  python -m seq2att_baselines runs/imdb --split validation"""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the metrics; the exit code is 2 for an error of the user, as that of seq2att."""
    parser = argparse.ArgumentParser(
        prog="python -m seq2att_baselines",
        description="Measure a baseline on a split of the data of a run, trained on its training rows.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="a run folder or a bundle")
    parser.add_argument("--order", type=int, metavar="N", help="tokens of the longest n-grams, at least 1")
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="which part of the data")
    parser.add_argument("--root", metavar="DIR", help="where relative paths start (data.root)")
    parser.add_argument("--trust-data", action="store_true", help="open the data that a bundle of others names")
    parser.add_argument(
        "--plugin", metavar="FILE", action="append", default=[], dest="plugins", help="a file, folder or module"
    )
    try:
        result = baseline(**vars(parser.parse_args(argv)))
    except UserError as error:
        print(f"seq2att: error [{error.code}]: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result, ensure_ascii=False, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
