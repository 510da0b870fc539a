"""SVHN: house numbers."""
