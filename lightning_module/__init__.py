"""What is trained: networks, data, recipes, and the training of one cell into a record."""
