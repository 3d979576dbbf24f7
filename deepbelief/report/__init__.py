"""Figures and pages: they show numbers, they compute none."""
