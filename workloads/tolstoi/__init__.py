"""War and Peace, character by character."""
