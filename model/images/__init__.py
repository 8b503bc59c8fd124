"""Any picture to what phi takes."""
