"""What training minimises, and what the network's outputs mean."""
