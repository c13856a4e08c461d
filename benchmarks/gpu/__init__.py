"""What some minutes of a GPU can teach: see __main__.py."""
