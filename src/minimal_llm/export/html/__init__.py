"""Export to one HTML page that holds the model, its engine and a view of how it works."""
