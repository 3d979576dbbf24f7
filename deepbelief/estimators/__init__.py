"""scikit-learn faces: they store, check and hand over; no maths."""
