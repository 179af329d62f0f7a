"""A trained one-pass network that comes with the package; README.md is its model card."""
