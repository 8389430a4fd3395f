"""Guards on answers that are still being written: answers, harm that begins late, figures."""
