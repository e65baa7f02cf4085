"""From predictions to the order of candidates, by the score policy that a request chooses."""
