"""One file per kind of unit; the only place that knows a distribution."""
