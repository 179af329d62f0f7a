"""From an archive of radar files to a data folder that can be trained on."""
