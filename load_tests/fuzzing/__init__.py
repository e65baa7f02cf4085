"""Cases out of the service's OpenAPI document."""
