"""The live loop with poison beside its traffic."""
