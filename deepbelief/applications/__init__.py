"""Systems built from the parts: denoising pictures."""
