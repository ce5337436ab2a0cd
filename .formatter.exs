[
  inputs: ["{mix,.formatter}.exs", "config/*.exs", "lib/**/*.ex", "test/elixir/**/*.exs"]
]
