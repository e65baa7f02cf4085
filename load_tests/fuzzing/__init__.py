"""The part of the fuzz test that runs inside schemathesis."""
