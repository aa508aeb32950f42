"""What the Performance page is made of."""
