"""The private Redis server that is started where no running one is named, and the process that keeps it."""
