"""What the A/B tests page, and what other pages say of experiments, is made of."""
