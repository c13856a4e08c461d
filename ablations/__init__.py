"""What is asked: studies, their cells, and what is left to run of them."""
