"""One loop for every procedure: progress, callbacks, checkpoints, several processes."""
