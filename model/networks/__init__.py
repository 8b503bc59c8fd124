"""The networks of a LEO: feature extractor, encoder, relation network, decoder and classifier."""
