"""What follows from the evidence: rules, thresholds, actions, and the files that hold them."""
