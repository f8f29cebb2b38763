"""Scores: DICE, AJI, PQ, PQ+, detection, their intervals, and which nucleus matches which."""
