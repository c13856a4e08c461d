"""How fast a cell trains, and how fast its device could."""
