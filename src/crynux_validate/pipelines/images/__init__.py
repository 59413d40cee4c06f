"""Image tasks: loading a pipeline, drawing, and drawing again for an audit."""
