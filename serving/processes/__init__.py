"""One server process, or several behind a port."""
