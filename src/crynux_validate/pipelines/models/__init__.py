"""What loading needs for models of any kind: files, names, dtypes, and the recipe that is read back."""
