"""What is said of whole images: cluster ids and vectors, how they are chosen, and how far to trust them."""
