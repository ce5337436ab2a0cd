defmodule Crema.Kaffe.Partitions do
  @moduledoc false
  # Kaffe's partition strategies as partitioners of crema's.

  @doc """
  A strategy. A function of five arguments, as Kaffe had them at first, is told of the partition that
  it chose last for the topic too.
  """
  @spec strategy(term, null :: nil | binary) :: term
  def strategy(fun, null) when is_function(fun, 4) do
    fn topic, count, key, value -> fun.(topic, count, text(key, null), text(value, null)) end
  end

  def strategy(fun, null) when is_function(fun, 5) do
    fn topic, count, key, value ->
      last = last(topic)
      partition = fun.(topic, :atomics.get(last, 1), count, text(key, null), text(value, null))
      :atomics.put(last, 1, partition)
      partition
    end
  end

  def strategy(strategy, _null), do: strategy

  defp text(text, null), do: if(text == nil, do: null, else: text)

  defp last(topic) do
    key = {__MODULE__, topic}

    with nil <- :persistent_term.get(key, nil) do
      last = :atomics.new(1, [])
      :persistent_term.put(key, last)
      last
    end
  end
end
