"""Labelled data: one row type, streamed files, splits that do not leak."""
