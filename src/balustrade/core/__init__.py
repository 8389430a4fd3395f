"""What things are: content, verdicts, decisions, calls; data and protocols that do no work."""
