"""The sections of a report, as text, tables and figures."""
