"""Measurements of training speed; not part of the wheel."""
