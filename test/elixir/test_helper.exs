Code.require_file("support/broadway_stand_in.exs", __DIR__)
Code.require_file("support/kaffe.exs", __DIR__)
Code.require_file("support/printed.exs", __DIR__)
# What wants a real broker runs below scripts/kafka: mix test --only kafka
ExUnit.start(exclude: :kafka)
