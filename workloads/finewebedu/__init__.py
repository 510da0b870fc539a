"""FineWeb-Edu: a language model of English web text."""
