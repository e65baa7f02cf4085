"""Other ways to put the same network behind HTTP, each as its documentation shows it."""
