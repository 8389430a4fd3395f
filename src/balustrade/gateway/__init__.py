"""The server: OpenAI's endpoints with rails around the model behind them."""
