"""From pictures of any size and mode to the input of phi: drawings, photos, and telling them apart."""
