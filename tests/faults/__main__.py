import sys

from tests.faults.plan import main

sys.exit(main(sys.argv[1:]))
