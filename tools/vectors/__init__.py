"""What each kind of test vector is made of, a module for each family."""
