"""Every reader of strangers' bytes, and ways to damage what it reads."""
