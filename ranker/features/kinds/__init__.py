"""The kinds of features: each says what it reads, how wide it is and how it is encoded."""
