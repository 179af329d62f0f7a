"""Self-attention within the cuboids of a (time, height, width) grid."""
