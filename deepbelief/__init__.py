"""deepbelief: deep belief networks and the generative family around them."""

__version__ = "0.1.0"
