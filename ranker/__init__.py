"""The ranking domain: spec, features, networks, score, metrics and bundles; no HTTP and no command line."""
