"""Deep belief networks: the stack, greedy training, the bound, fine-tuning."""
