"""From predictions to the one number that candidates are ranked by."""
