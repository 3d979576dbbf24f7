"""Systems built from the parts: recommendation, denoising."""
