Code.require_file("support/kaffe.exs", __DIR__)
# What wants a real broker runs below scripts/kafka: mix test --only kafka
ExUnit.start(exclude: :kafka)
