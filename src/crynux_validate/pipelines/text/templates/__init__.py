"""Chat templates of strangers: the same text on every node, or an error."""
