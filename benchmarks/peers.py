"""One update of an RBM by this library, by its peers, and its five bare matrix products, in one interleaved run.

scikit-learn is always measured; rbms and learnergy where they are installed (benchmarks/requirements.txt; `make bench`
makes an environment with both). All see the same rows in batches of the same size, with as many threads. On one thread
it is processor time that counts, on several wall time.

    python benchmarks/peers.py [--rounds 20] [--threads 1]
"""

from __future__ import annotations

import time

from _measure import interleaved, parser, print_table, ratio, set_up
from _peers import installed, peers
from rbm_step import BATCHES, LIMIT, SHAPES, bare, ours, rows


def main() -> None:
    """Measure and print one table for each shape."""
    options = parser("Milliseconds per update of an RBM, by library", 20).parse_args()
    set_up(options.threads)
    for name in ("rbms", "learnergy"):
        if not installed(name):
            print(f"{name} is not installed and not measured")
    for shape in SHAPES:
        ways = {
            LIMIT: bare(*shape),
            "deepbelief PCD-1": ours("pcd", *shape),
            "deepbelief CD-1": ours("cd", *shape),
            **peers(shape, rows(shape[0], shape[2])),
        }
        clock = time.process_time if options.threads == 1 else time.perf_counter  # other work on the machine stays out
        seconds = interleaved(ways, options.rounds, clock)
        print_table("RBM {}-{}, batch {}: one update".format(*shape), seconds, limit=LIMIT, per=BATCHES)
        for peer in list(ways)[3:]:
            own = "deepbelief CD-1" if peer.endswith("CD-1") and "PCD" not in peer else "deepbelief PCD-1"
            print(f"  {peer} takes {ratio(seconds, peer, own):.1f} times {own}")


if __name__ == "__main__":
    main()
