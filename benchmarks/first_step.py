"""How long a fresh process takes from its first import to its first update of an RBM 784-500, against `import torch`.

python benchmarks/first_step.py [--rounds 5]
"""

from __future__ import annotations

import subprocess
import sys

from _measure import interleaved, parser, print_table, set_up

TORCH = "import torch"
STEP = """
import numpy as np
from deepbelief import RBM
RBM(500, epochs=1, batch_size=100, random_state=0).fit((np.random.default_rng(0).random((100, 784)) < 0.3).astype("f4"))
"""


def main() -> None:
    """Measure whole processes."""
    options = parser("Seconds from a fresh process to the first update", 5).parse_args()
    set_up(options.threads)
    ways = {
        "limit: import torch": lambda: subprocess.run([sys.executable, "-c", TORCH], check=True),
        "deepbelief: import, fit one batch": lambda: subprocess.run([sys.executable, "-c", STEP], check=True),
    }
    seconds = interleaved(ways, options.rounds)
    print_table("A fresh process", seconds, limit="limit: import torch", unit="s", scale=1)


if __name__ == "__main__":
    main()
