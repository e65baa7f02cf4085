"""A log at rest played back as real HTTP: requests for rankings, and the feedback on them."""
