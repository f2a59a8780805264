"""The forms in which trainings write metrics: lines of a table or of JSON, one JSON document, event records."""
