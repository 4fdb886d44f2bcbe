"""Seeing inside, and a gallery of mistakes."""
