"""Read a text as a person or a model would: folded, decoded, and cut into windows.

Every reading maps its spans back to the text as it came, in code points.
"""
