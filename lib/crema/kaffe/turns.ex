defmodule Crema.Kaffe.Turns do
  @moduledoc false
  # Of the partitions of several topics those with the same number are handled one at a time, as
  # Kaffe's `worker_per_partition` has it. Their processes take turns, in the order in which they ask.

  use GenServer

  @spec start_link(GenServer.name()) :: GenServer.on_start()
  def start_link(name), do: GenServer.start_link(__MODULE__, [], name: name)

  @doc "Runs a function when it is the calling process's turn."
  @spec take(GenServer.server(), non_neg_integer, (() -> result)) :: result when result: term
  def take(turns, partition, fun) do
    turn = GenServer.call(turns, {:take, partition}, :infinity)

    try do
      fun.()
    after
      GenServer.cast(turns, {:done, partition, turn})
    end
  end

  # Of each partition those that wait, the first of which has its turn. Each is monitored, and its
  # monitor is its turn.
  @impl true
  def init([]), do: {:ok, %{}}

  @impl true
  def handle_call({:take, partition}, {pid, _tag} = from, lines) do
    line = Map.get(lines, partition, []) ++ [{Process.monitor(pid), from}]
    if match?([_], line), do: call_first(line)
    {:noreply, Map.put(lines, partition, line)}
  end

  @impl true
  def handle_cast({:done, partition, turn}, lines) do
    Process.demonitor(turn, [:flush])
    {:noreply, left(partition, turn, lines)}
  end

  @impl true
  def handle_info({:DOWN, turn, :process, _pid, _reason}, lines) do
    {:noreply, Enum.reduce(Map.keys(lines), lines, &left(&1, turn, &2))}
  end

  def handle_info(_message, lines), do: {:noreply, lines}

  defp left(partition, turn, lines) do
    case Map.fetch!(lines, partition) do
      [{^turn, _from}] ->
        Map.delete(lines, partition)

      [{^turn, _from} | rest] ->
        call_first(rest)
        Map.put(lines, partition, rest)

      line ->
        Map.put(lines, partition, List.keydelete(line, turn, 0))
    end
  end

  defp call_first([{turn, from} | _rest]), do: GenServer.reply(from, turn)
end
