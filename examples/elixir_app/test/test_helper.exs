# Brokers may make the topic when it is first used. A member of a group that starts waits some
# seconds for its partitions.
{:ok, [{:ok, _report}]} = Cafe.order("the first", [{"Ada", "espresso"}])
:ok = Crema.await_ready(Cafe.Barista, 30_000)
# What wants Heroku's variables runs when asked for: mix test --include heroku
ExUnit.start(exclude: :heroku)
