"""What a cell tells while it trains: to its record, to W&B and to whoever watches."""
