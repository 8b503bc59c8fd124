"""Every kind of hostile caller, one after the other, beside eight polite clients: `python -m bench.strangers`."""
