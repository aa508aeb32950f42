"""What follows an alert without a hand: rules, the answers that they begin, and the steps of an answer."""
