"""The fifteen optimizers of the study "Descending through a Crowded Valley", with its default points and spaces."""
