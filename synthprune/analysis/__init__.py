"""What trained networks look like from outside: the paths between them."""
