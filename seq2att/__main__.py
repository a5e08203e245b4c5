"""`python -m seq2att` is the command `seq2att`."""

import sys

from seq2att.cli import main

if __name__ == "__main__":
    sys.exit(main())
