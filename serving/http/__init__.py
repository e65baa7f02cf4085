"""The HTTP shell: limits of the protocol, keys, problem documents, metrics, admission."""
