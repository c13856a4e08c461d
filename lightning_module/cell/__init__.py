"""What a cell is: its configuration, identity, price and record. Needs no torch."""
