defmodule Crema.Statistics do
  @moduledoc """
  librdkafka's statistics, as `Crema.statistics/1` and the event `[:crema, :client, :statistics]`
  have them: maps with strings as keys, whose fields are those of librdkafka's STATISTICS.md.
  """

  @typedoc "A map with strings as keys, of numbers, strings, lists and such maps."
  @type t :: :crema_statistics.statistics()

  @typedoc "What a metric is: counters tell the change, gauges the value."
  @type metric ::
          {:counter | :histogram | :gauge, name :: String.t(), number,
           tags :: [{String.t(), String.t()}]}

  @doc "The metrics that users of StatsD and Datadog expect."
  @spec metrics(t) :: [metric]
  def metrics(statistics), do: :crema_statistics.metrics(statistics)

  @doc "What a client has sent and received in all, of its brokers together."
  @spec totals(t) :: map
  def totals(statistics), do: :crema_statistics.totals(statistics)

  @doc """
  Adds to each number what has become of it since the statistics before, or `:none`: `"tx_d"` beside
  `"tx"` is by how much it changed, `"tx_fd"` for how many milliseconds it has been what it is.
  """
  @spec decorate(t, previous :: t | :none, :metrics | :all | [String.t()]) :: t
  def decorate(current, previous, deltas),
    do: :crema_statistics.decorate(current, previous, deltas)
end
