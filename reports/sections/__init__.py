"""The sections of a report, as text, tables and figures. In all of them `c` is the Collected they are made from."""
