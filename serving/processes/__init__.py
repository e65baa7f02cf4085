"""Server processes: a single one, or several behind one port."""
