"""How good a model is: likelihood, classification, features, pictures of what was learned."""
