defmodule Crema.Kaffe.Turns do
  @moduledoc false
  # Of the partitions of a consumer's topics those with the same number are handled one at a time, as
  # Kaffe's `worker_per_partition` has it. Their processes take turns, in the order in which they ask;
  # each consumer and number has a line of its own.

  use GenServer

  @typedoc "What only one at a time has its turn in."
  @type line :: {consumer :: pid, partition :: non_neg_integer}

  @doc "Starts it below crema's own application, unless it runs."
  @spec start() :: :ok | Crema.error()
  def start do
    with :ok <- :crema_child.running() do
      case Supervisor.start_child(:crema_sup, child_spec([])) do
        {:ok, _pid} -> :ok
        {:error, {:already_started, _pid}} -> :ok
      end
    end
  end

  @doc false
  @spec start_link([]) :: GenServer.on_start()
  def start_link([]), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  @doc "Runs a function when it is the calling process's turn."
  @spec take(line, (... -> result)) :: result when result: term
  def take(line, fun) do
    turn = GenServer.call(__MODULE__, {:take, line}, :infinity)

    try do
      fun.()
    after
      GenServer.cast(__MODULE__, {:done, line, turn})
    end
  end

  # Of each line those that wait, the first of which has its turn. Each is monitored, and its monitor
  # is its turn.
  @impl true
  def init([]), do: {:ok, %{}}

  @impl true
  def handle_call({:take, line}, {pid, _tag} = from, lines) do
    waiting = Map.get(lines, line, []) ++ [{Process.monitor(pid), from}]
    if match?([_], waiting), do: call_first(waiting)
    {:noreply, Map.put(lines, line, waiting)}
  end

  @impl true
  def handle_cast({:done, line, turn}, lines) do
    Process.demonitor(turn, [:flush])
    {:noreply, left(line, turn, lines)}
  end

  @impl true
  def handle_info({:DOWN, turn, :process, _pid, _reason}, lines) do
    {:noreply, Enum.reduce(Map.keys(lines), lines, &left(&1, turn, &2))}
  end

  # A turn of before it was started again is of no line.
  defp left(line, turn, lines) do
    case Map.get(lines, line, []) do
      [{^turn, _from}] ->
        Map.delete(lines, line)

      [{^turn, _from} | rest] ->
        call_first(rest)
        Map.put(lines, line, rest)

      [] ->
        lines

      waiting ->
        Map.put(lines, line, List.keydelete(waiting, turn, 0))
    end
  end

  defp call_first([{turn, from} | _rest]), do: GenServer.reply(from, turn)
end
