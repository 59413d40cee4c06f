"""Text tasks: loading a language model, generating, and looking again at tokens for an audit."""
