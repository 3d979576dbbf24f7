"""Named settings, one file per known result, each with reproduce()."""
