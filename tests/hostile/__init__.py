"""Files and bodies that nobody sends by mistake."""
