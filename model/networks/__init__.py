"""The networks of LEO. Every one works on T tasks at once; shapes are beside the lines."""
