# What reads as a sentence in tests stays one, here and with `import_deps: [:crema]`.
assertions = [
  assert_produced: 1,
  assert_produced: 2,
  refute_produced: 1,
  refute_produced: 2
]

[
  inputs: ["{mix,.formatter}.exs", "config/*.exs", "lib/**/*.ex", "test/elixir/**/*.exs"],
  locals_without_parens: assertions,
  export: [locals_without_parens: assertions]
]
