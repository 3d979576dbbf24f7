"""Learning rules: exact, contrastive divergence, persistent chains."""
