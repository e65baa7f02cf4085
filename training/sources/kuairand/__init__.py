"""KuaiRand-Pure: its log, tables and download."""
