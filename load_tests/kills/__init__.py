"""The whole live loop under kills: its processes, viewers, and what became of all that they were told."""
