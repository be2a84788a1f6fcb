"""What happens between a batch and the weights: precision, the step, and what it is made of."""
